"""A chart of the page: its panels, a legend for all of them and a caption, or why it is none."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pydantic import ValidationError

from curvetune.errors import CurvetuneError, printable
from curvetune.report.charts.forest import ForestDrawing
from curvetune.report.charts.heat import HeatDrawing
from curvetune.report.charts.plot import Drawing, Look
from curvetune.report.figures.gather import MissingError

# What the files of a storage, or the drawing of what is in them, can raise.
FAULTS = (CurvetuneError, ValidationError, ValueError, LookupError, TypeError, ArithmeticError)

LEAST_POINTS = 2.0  # that an axis of accuracies spans: less is noise
NARROW = 420.0  # width of a panel that has others beside it

Panel = Drawing | HeatDrawing | ForestDrawing


@dataclass(frozen=True)
class Chart:
    """A figure as it stands in the page."""

    caption: str
    panels: Sequence[Panel] = ()
    legend: Sequence[tuple[str, Look]] = ()
    problem: str = ""

    @property
    def is_broad(self) -> bool:
        """Whether it needs the width of the page."""
        return any(panel.width > NARROW for panel in self.panels)


def charted(caption: str, make: Callable[[], Chart]) -> Chart | None:
    """Return the chart, or one that says what is damaged; None where there is nothing to draw."""
    try:
        return make()
    except MissingError:
        return None
    except FAULTS as error:
        return Chart(caption, problem=f"{type(error).__name__}: {printable(error, 300)}")
