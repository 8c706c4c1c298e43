"""Grids as jobs of a Ray cluster that is reached by HTTP alone: sent, followed, stopped."""
