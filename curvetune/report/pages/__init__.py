"""A grid as one page of HTML that needs no network."""

from curvetune.report.pages.grid import write_html

__all__ = ["write_html"]
