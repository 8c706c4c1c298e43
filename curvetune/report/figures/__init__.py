"""Figures of a grid and of its cells: for print and for screens, from files alone."""

from curvetune.report.figures.of_grid import FIGURES, Drawn, check_names, draw_all
from curvetune.report.figures.style import FORMATS, file_of

__all__ = ["FIGURES", "FORMATS", "Drawn", "check_names", "draw_all", "file_of"]
