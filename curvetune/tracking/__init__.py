"""Trackers: where runs and metrics are shown. They never hold the truth."""
