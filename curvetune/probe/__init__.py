"""The run that records a curve matrix."""
