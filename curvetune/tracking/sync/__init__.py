"""Brings MLflow up to date with the storage.

grid.py goes through the cells. runs.py has what MLflow hears of each run, and points.py its params
and numbers.
"""
