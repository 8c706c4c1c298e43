"""Readers of data sets of any size: a file for each form, and all of them in forms.py."""
