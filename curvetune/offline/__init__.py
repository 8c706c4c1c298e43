"""Grids without Ray: cells of a space, in slices of time, on a machine with PyTorch alone."""
