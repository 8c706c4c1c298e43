"""Bundles: all that a paper's reader needs of a grid in one file, which can be checked."""
