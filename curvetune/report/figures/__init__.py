"""Figures of a grid and of its cells: for print and for screens, from files alone."""

from curvetune.report.figures.names import name_of
from curvetune.report.figures.of_grid import FIGURES, Drawn, check_names, draw_all
from curvetune.report.figures.style import FORMATS, file_of, in_the_dark

__all__ = [
    "FIGURES",
    "FORMATS",
    "Drawn",
    "check_names",
    "draw_all",
    "file_of",
    "in_the_dark",
    "name_of",
]
