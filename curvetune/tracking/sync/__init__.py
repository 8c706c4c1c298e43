"""Brings MLflow up to date with the storage."""
