"""Classifiers and CurveNet."""
