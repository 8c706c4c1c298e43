"""Figures of a cell's training samples: the paper's Figures 1, 4 and 5."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from curvetune.data.splits import Split
from curvetune.report.figures.style import (
    CLEAN,
    NOISY,
    class_ticks,
    fit,
    new_axes,
    new_grid,
    styled,
    text_colour,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Values = NDArray[np.float64]
Part = tuple[str, NDArray[np.bool_], str, str, str]  # name, samples, colour, dashes, marker
MOST_CLASSES = 20  # that have a label on the axis each
SHIFTS = {1: (0.0,), 2: (-0.18, 0.18), 3: (-0.24, 0.0, 0.24)}  # of parts, from a class's middle


@styled
def loss_curves(
    curves: Values,
    split: Split,
    title: str = "",
    *,
    known: bool = True,
    names: Sequence[str] = (),
) -> "Figure":
    """Return Figure 1: the mean loss of right and wrong labels, of the largest and smallest class.

    Classes are those that labels are given as, and so are their sizes.

    Args:
        curves: (N, T), of the probe; the band is one standard deviation.
        known: whether it is known which labels are wrong; else all are just given.
        names: of the classes; their numbers if empty.
    """
    seen = ~np.isnan(curves).any(axis=1)  # HAR's probe sees half of the samples
    sizes = np.bincount(split.y[seen], minlength=int(split.y.max()) + 1)
    chosen = largest_and_smallest(sizes)
    figure, plots = new_grid(1, len(chosen), 3.75 * len(chosen), 3.2, sharey=True)
    for axes, (k, size) in zip(plots, chosen, strict=True):
        for name_of, which, color, dashes, _ in _parts(split, known=known):
            _curve_of(axes, curves, (split.y == k) & which & seen, name_of, color, dashes)
        said = f"{size}, {sizes[k]} samples" if size else f"{sizes[k]} samples"
        axes.set_title(fit(f"labelled {name_of_class(k, names)} ({said})", 44), fontsize=9)
        axes.set_xlabel("epoch of the probe")
        axes.locator_params(axis="x", integer=True)
        axes.legend(frameon=False)
    plots[0].set_ylabel("loss, mean ± sd over samples")
    plots[0].set_ylim(bottom=0)
    figure.suptitle(fit(title, 90), fontsize=9)
    return figure


def largest_and_smallest(sizes: NDArray[np.int64]) -> list[tuple[int, str]]:
    """Return the class with the most samples and the one with the fewest, each with what it is.

    They are two classes wherever there are two: of those that are alike, the first and the last.
    """
    present = np.flatnonzero(sizes)
    if not len(present):
        return []
    head = present[sizes[present].argmax()]
    tail = present[::-1][sizes[present][::-1].argmin()]
    if head == tail:
        return [(int(head), "")]
    if sizes[head] == sizes[tail]:
        return [(int(head), ""), (int(tail), "")]
    return [(int(head), "largest class"), (int(tail), "smallest class")]


def name_of_class(k: int, names: Sequence[str]) -> str:
    """Return what class `k` is called, or "class 3" where it is not known."""
    known = k < len(names) and names[k] != str(k)
    return names[k] if known else f"class {k}"


def _curve_of(
    axes: "Axes", curves: Values, which: NDArray[np.bool_], label: str, color: str, dashes: str
) -> None:
    if not which.any():
        return
    epochs = np.arange(curves.shape[1])
    mean, spread = curves[which].mean(axis=0), curves[which].std(axis=0)
    axes.plot(epochs, mean, color=color, linestyle=dashes, label=f"{label} ({which.sum()})")
    axes.fill_between(epochs, mean - spread, mean + spread, color=color, alpha=0.15, linewidth=0)


@styled
def class_counts(
    split: Split, title: str = "", *, known: bool = True, names: Sequence[str] = ()
) -> "Figure":
    """Return Figure 4: how many samples each given class has, and how many of them are wrong.

    Args:
        known: whether it is known which labels are wrong; else only the given ones are counted.
        names: of the classes; their numbers if empty.
    """
    classes = int(max(split.y.max(), split.y_true.max())) + 1
    given = np.bincount(split.y, minlength=classes)
    wrong = np.bincount(split.y[split.wrong], minlength=classes)
    true = np.bincount(split.believed, minlength=classes)
    figure, axes = new_axes(5.0, 3.4)
    place = np.arange(classes)
    axes.bar(place, given, color="#999999", label="given this class", width=0.85)
    if known:
        bars = axes.bar(place, wrong, color=NOISY, hatch="///", label="wrongly", width=0.85)
        for bar in bars:
            bar.set_edgecolor("white")
        if (split.y_true >= 0).all():
            name = "truly of this class"
            axes.step(place, true, where="mid", color=text_colour(), linewidth=1, label=name)
    _class_axis(axes, classes, names)
    axes.set_ylabel("training samples")
    axes.set_title(fit(title, 60), fontsize=9)
    axes.legend(frameon=False)
    return figure


@styled
def weights_by_class(
    weights: Values,
    split: Split,
    title: str = "",
    *,
    known: bool = True,
    names: Sequence[str] = (),
) -> "Figure":
    """Return Figure 5: the final weights of right and wrong labels of every given class.

    A line from the first to the third quartile, and a mark at the median.

    Args:
        known: whether it is known which labels are wrong; else all are just given.
        names: of the classes; their numbers if empty.
    """
    classes = int(split.y.max()) + 1
    figure, axes = new_axes(max(5.0, min(0.12 * classes + 2, 12.0)), 3.2)
    parts = _parts(split, known=known)
    for shift, (label, which, color, _, marker) in zip(SHIFTS[len(parts)], parts, strict=True):
        spans = _quartiles(weights[which], split.y[which], classes)
        place = np.array([k for k, _ in spans]) + shift
        low, middle, high = (np.array([span[q] for _, span in spans]) for q in range(3))
        if len(place):
            axes.vlines(place, low, high, color=color, linewidth=2, alpha=0.5)
            axes.plot(place, middle, marker, color=color, label=label, markersize=4)
    _class_axis(axes, classes, names)
    axes.set_ylabel("final weight, median and quartiles")
    axes.set_ylim(0, 1.08 * axes.get_ylim()[1])  # weights that are all alike lie below the top
    axes.set_title(fit(title, 60), fontsize=9)
    axes.legend(frameon=False)
    return figure


def _parts(split: Split, *, known: bool) -> list[Part]:
    """Return the samples by what is known of their labels: right, wrong, or only given ones."""
    if not known:
        return [("given label", np.ones(len(split.y), np.bool_), CLEAN, "-", "o")]
    parts: list[Part] = [
        ("right label", split.known & ~split.wrong, CLEAN, "-", "o"),
        ("wrong label", split.wrong, NOISY, "--", "s"),
    ]
    if not split.known.all():
        parts.append(("nobody knows", ~split.known, "#888888", ":", "^"))
    return parts


def _quartiles(weights: Values, y: NDArray[np.int64], classes: int) -> list[tuple[int, Values]]:
    """Return (class, quartiles) of each given class that has samples."""
    found = []
    for k in range(classes):
        values = weights[y == k]
        if len(values):
            found.append((k, np.quantile(values, (0.25, 0.5, 0.75))))
    return found


def _class_axis(axes: "Axes", classes: int, names: Sequence[str]) -> None:
    axes.set_xlabel("given class")
    axes.set_xlim(-0.7, classes - 0.3)
    if classes <= MOST_CLASSES:
        axes.set_xticks(range(classes), **class_ticks(classes, names))
