"""What all figures have in common: size, colours that everybody can tell apart, and their files.

The colours of methods are those of report/colours.py; the others are of Okabe and Ito ("Color
Universal Design", 2008). Lines differ in their dashes as well, and areas in their hatching, so that
a grey print can be read. The same data gives the same bytes.
"""

import contextlib
import functools
import io
import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from curvetune.report.colours import colours_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLACK, ORANGE, SKY, GREEN, YELLOW, BLUE, RED, PURPLE = (
    *("#000000", "#e69f00", "#56b4e9", "#009e73"),
    *("#f0e442", "#0072b2", "#d55e00", "#cc79a7"),
)
CYCLE = (BLUE, RED, GREEN, PURPLE, ORANGE, SKY, BLACK)
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 3)), (0, (8, 2)))
MARKERS = "osD^vP*X<>ph"
LEGEND_LINE = 0.16  # inches of a line of a legend of 7 points
CLASS_LETTERS = 18  # of the name of a class below an axis
SHORT = 2  # letters that need no slant
LEAST_SPAN = 5.0  # points that an axis of accuracies shows at least
CLEAN, NOISY = BLUE, RED  # samples with a right and with a wrong label
FORMATS = ("svg", "png")
STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.facecolor": "white",  # legible on a dark page too
    "svg.fonttype": "none",  # text stays text: it can be searched, and read aloud
    "svg.hashsalt": "curvetune",
    "text.parse_math": False,  # names come from anybody: a $ is a $
    "text.usetex": False,
}
DPI = 150
STAMP_INCHES = 0.2  # of the strip below a figure whose profile is said
DARK: dict[Any, Any] = {
    "figure.facecolor": "#0d1117",
    "axes.facecolor": "#0d1117",
    "savefig.facecolor": "#0d1117",
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor"), "#e6edf3"),
    **dict.fromkeys(("xtick.color", "ytick.color"), "#e6edf3"),
}

P = ParamSpec("P")
R = TypeVar("R")


def styled(draw: Callable[P, R]) -> Callable[P, R]:
    """Draw in our style: matplotlib looks at most of it when a text or a line is made."""

    @functools.wraps(draw)
    def wrapped(*args: P.args, **named: P.kwargs) -> R:
        import matplotlib

        with matplotlib.rc_context(STYLE):
            return draw(*args, **named)

    return wrapped


@contextlib.contextmanager
def in_the_dark() -> Iterator[None]:
    """Draw, and write files, for a dark page while the block runs. Not for threads."""
    before = dict(STYLE)
    STYLE.update(DARK)
    try:
        yield
    finally:
        STYLE.clear()
        STYLE.update(before)


@styled
def stamped(figure: "Figure", text: str) -> "Figure":
    """Return a figure with a stamp in a strip of its own below it; as it is without a text."""
    layout = figure.get_layout_engine()
    if text and layout is not None:
        strip = STAMP_INCHES / figure.get_figheight()
        figure.set_figheight(figure.get_figheight() + STAMP_INCHES)
        layout.set(rect=(0, strip / (1 + strip), 1, 1 / (1 + strip)))  # type: ignore[call-arg]
        figure.text(0.99, 0.01, text, ha="right", va="bottom", fontsize=8, color=RED)
    return figure


def new_axes(width: float = 5.0, height: float = 3.2) -> "tuple[Figure, Axes]":
    """Return a figure of one plot, in inches."""
    figure, axes = new_grid(1, 1, width, height)
    return figure, axes[0]


def new_grid(
    rows: int, columns: int, width: float, height: float, **shared: Any
) -> "tuple[Figure, Sequence[Axes]]":
    """Return a figure of rows times columns plots, row by row."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, list(figure.subplots(rows, columns, squeeze=False, **shared).flat)


def fit(text: str, width: int, lines: int = 3) -> str:
    """Return a name in lines of `width` letters, cut after `lines` of them."""
    found = textwrap.wrap(text, width, max_lines=lines, placeholder=" …")
    return "\n".join(found)


@dataclass(frozen=True)
class Look:
    """How a method is drawn: what tells it apart in colour, and without."""

    colour: str
    dashes: Any
    marker: str


def looks_of(labels: Sequence[str]) -> dict[str, Look]:
    """Return how each row of a grid is drawn, by its label."""
    return {
        label: Look(colour, DASHES[k % len(DASHES)], MARKERS[k % len(MARKERS)])
        for k, (label, colour) in enumerate(colours_of(labels).items())
    }


def calm_limits(
    axes: "Axes", least: float = LEAST_SPAN, within: tuple[float, float] = (0.0, 100.0)
) -> None:
    """Let the upright axis show at least `least`: less would make noise a cliff.

    Args:
        within: the smallest and the largest value that there can be.
    """
    low, high = axes.get_ylim()
    if (missing := least - (high - low)) > 0:
        low, high = low - missing / 2, high + missing / 2
        shift = max(0.0, within[0] - low) - max(0.0, high - within[1])
        axes.set_ylim(low + shift, high + shift)


def shared_legend(figure: "Figure", plots: "Sequence[Axes]") -> None:
    """Put one legend for all plots beside them, each name once."""
    lines: dict[str, Any] = {}
    for axes in plots:
        handles, names = axes.get_legend_handles_labels()
        lines |= dict(zip(names, handles, strict=True))
    figure.legend(
        lines.values(), lines.keys(), loc="outside right center", fontsize=8, frameon=False
    )


def class_ticks(classes: int, names: Sequence[str]) -> dict[str, Any]:
    """Return how the ticks of an axis of classes are labelled: with names, or else numbers."""
    if len(names) < classes:
        return {"labels": [str(k) for k in range(classes)]}
    shown = [fit(name, CLASS_LETTERS, lines=1) or name[:CLASS_LETTERS] for name in names[:classes]]
    if max(map(len, shown)) <= SHORT:
        return {"labels": shown}
    return {"labels": shown, "rotation": 45, "ha": "right", "fontsize": 7}


def rounded(value: float, digits: int = 1) -> float:
    """Return a difference as it is shown, without the sign of one that is none."""
    return round(value, digits) + 0.0


def text_colour() -> str:
    """Return the colour of text on the page that is drawn for."""
    return str(STYLE.get("text.color", "black"))


def line_style(k: int) -> dict[str, Any]:
    """Return how the k-th line of a plot looks."""
    return {"color": CYCLE[k % len(CYCLE)], "linestyle": DASHES[k % len(DASHES)]}


def file_of(figure: "Figure", form: str) -> bytes:
    """Return the content of a file: `svg` or `png`."""
    import matplotlib

    content = io.BytesIO()
    metadata = {"Date": None} if form == "svg" else {"Software": None}
    with matplotlib.rc_context(STYLE):
        figure.savefig(content, format=form, dpi=DPI, metadata=metadata)
    return content.getvalue()
