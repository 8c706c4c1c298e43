"""Figures of a whole grid: heat maps over the bias settings, accuracy against cost, ablations."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from curvetune.report.figures.style import (
    LEAST_SPAN,
    LEGEND_LINE,
    Look,
    calm_limits,
    fit,
    looks_of,
    new_axes,
    new_grid,
    rounded,
    shared_legend,
    styled,
    text_colour,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Heat = Mapping[tuple[float, float], float | None]  # (imbalance, noise rate) -> percent
COLUMNS = 4  # heat maps in a row
FEW = 8  # methods whose legend fits into the plot
SPREAD = 0.84  # of the width of a setting, which its methods share
TICKS = {True: "-", False: ":"}  # of a published number: of the same classifier, of another one
PUBLISHED = {True: "published", False: "published, of another\nclassifier"}
BETTER = "blue is better than {0}, red is worse"


@dataclass(frozen=True)
class Sweep:
    """MA over the values of one option of a method, as a line: an ablation."""

    method: str
    option: str
    fixed: str  # the other options that tell its rows apart, in words
    points: tuple[tuple[float | str, float, float | None], ...]  # value, MA, sd or None
    labels: tuple[str, ...] = ()  # of the rows


@styled
def heat_maps(
    methods: Mapping[str, Heat],
    unit: str,
    *,
    signed: bool = False,
    title: str = "",
    words: tuple[Mapping[float, str], Mapping[float, str]] = ({}, {}),
) -> "Figure":
    """Return a heat map over imbalance × noise rate for each method, all with the same shades.

    Args:
        unit: what the colour bar says.
        signed: values are differences: blue is above zero, red below it, white is none.
        words: what an imbalance and a noise rate are called, where that is not the number.
    """
    imbalances = sorted({place[0] for heat in methods.values() for place in heat})
    rates = sorted({place[1] for heat in methods.values() for place in heat})
    known = [v for heat in methods.values() for v in heat.values() if v is not None]
    low, high = _range(known, signed=signed)
    columns = min(COLUMNS, len(methods))
    rows = -(-len(methods) // columns)
    size = 0.55 * len(rates) + 1.4, 0.42 * len(imbalances) + 0.8
    figure, plots = new_grid(rows, columns, max(4.4, columns * size[0] + 0.5), rows * size[1] + 1.2)
    image: Any = None
    for axes, (name, heat) in zip(plots, methods.items(), strict=False):
        values = np.array([[_or_nan(heat.get((i, r))) for r in rates] for i in imbalances])
        cmap = "RdBu" if signed else "viridis"
        image = axes.imshow(values, cmap=cmap, vmin=low, vmax=high, aspect="auto")
        axes.set_title(fit(name, 22), fontsize=8)
        axes.set_xticks(range(len(rates)), [words[1].get(r, f"{r:g}") for r in rates], fontsize=7)
        called = [words[0].get(i, f"{i:g}") for i in imbalances]
        axes.set_yticks(range(len(imbalances)), called, fontsize=7)
        for (row, column), value in np.ndenumerate(values):
            color = _ink(image, value)
            text = _said(value, signed=signed)
            axes.text(column, row, text, ha="center", va="center", color=color, fontsize=7)
    for axes in plots[len(methods) :]:
        axes.set_visible(False)
    figure.supxlabel("noise rate", fontsize=9)
    figure.supylabel("imbalance", fontsize=9)
    if image is not None:
        bar = figure.colorbar(image, ax=list(plots), location="top", shrink=0.6, aspect=40)
        bar.set_label(fit(unit, 60), fontsize=8)
        bar.ax.tick_params(labelsize=7)
    figure.suptitle(fit(title, 70), fontsize=9)
    return figure


def _range(known: Sequence[float], *, signed: bool) -> tuple[float, float]:
    """Return the ends of the colours: never so close that a difference by chance looks large."""
    if not known:
        return (-LEAST_SPAN / 2, LEAST_SPAN / 2) if signed else (0.0, 100.0)
    if signed:
        most = max(LEAST_SPAN / 2, *(abs(value) for value in known))
        return -most, most
    missing = max(0.0, LEAST_SPAN - (max(known) - min(known)))
    low = max(0.0, min(known) - missing / 2)
    return low, max(max(known), low + LEAST_SPAN)


def _said(value: float, *, signed: bool) -> str:
    if np.isnan(value):
        return "–"
    return f"{rounded(value):+.1f}" if signed else f"{value:.1f}"


def _or_nan(value: float | None) -> float:
    return float("nan") if value is None else value


def _ink(image: Any, value: float) -> str:
    """Return the colour in which a number can be read on its shade."""
    if np.isnan(value):
        return text_colour()
    red, green, blue, _ = image.cmap(image.norm(value))
    return "black" if 0.299 * red + 0.587 * green + 0.114 * blue > 0.5 else "white"


@styled
def accuracy_against_cost(
    methods: Mapping[str, tuple[float, float | None, float]], device: str, title: str = ""
) -> "Figure":
    """Return MA against the seconds of a method's cells.

    Args:
        methods: of each, MA and its sd in percent (or None), and seconds a cell, with its probe.
    """
    figure, axes = new_axes(6.5, max(3.8, 0.6 + LEGEND_LINE * len(methods)))
    looks = looks_of(list(methods))
    for name, (ma, std, seconds) in methods.items():
        look, label = looks[name], fit(name, 40)
        axes.errorbar(
            seconds, ma, yerr=std, fmt=look.marker, color=look.colour, label=label, capsize=2
        )
    figure.legend(loc="outside right center", fontsize=7, frameon=False)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("{x:g}")
    axes.tick_params(axis="x", which="both", labelsize=7)
    axes.set_xlabel(f"seconds a cell, its probe included, on {device}")
    axes.set_ylabel("MA, %" + _bars([std for _, std, _ in methods.values()]))
    calm_limits(axes)
    axes.set_title(fit(title, 55), fontsize=9)
    return figure


@styled
def accuracy_by_setting(
    methods: Mapping[str, Mapping[str, tuple[float, float | None]]],
    title: str = "",
    published: Sequence[tuple[str, str, float, bool]] = (),
) -> "Figure":
    """Return the accuracy of each method in each bias setting, with its spread over seeds.

    Args:
        methods: of each, its settings by name, and of each of them mean and sd (or None), percent.
        published: of a method in a setting, and whether it is of the same classifier.
    """
    settings = list(dict.fromkeys(name for of in methods.values() for name in of))
    few = len(methods) <= FEW
    height = 3.4 if few else max(3.4, 0.6 + LEGEND_LINE * len(methods))
    width = max(5.0, 1.4 * len(settings) + 1.5)
    width += 0 if few else 0.05 * len(settings) * len(methods)
    figure, axes = new_axes(width, height)
    looks = looks_of(list(methods))
    step = min(0.16, SPREAD / len(methods))
    for k, (method, found) in enumerate(methods.items()):
        look = looks[method]
        axes.errorbar(
            [settings.index(name) + step * (k - (len(methods) - 1) / 2) for name in found],
            [mean for mean, _ in found.values()],
            yerr=[std or 0.0 for _, std in found.values()],
            fmt=look.marker,
            color=look.colour,
            label=fit(method, 40),
            capsize=3,
        )
    names = list(methods)
    for method, setting, value, is_same in published:
        if method in methods and setting in settings:
            x = settings.index(setting) + step * (names.index(method) - (len(names) - 1) / 2)
            ends = [x - step / 2, x + step / 2]
            axes.plot(ends, [value] * 2, color=looks[method].colour, linestyle=TICKS[is_same])
    for is_same in sorted({one[3] for one in published}, reverse=True):
        axes.plot([], [], color=text_colour(), linestyle=TICKS[is_same], label=PUBLISHED[is_same])
    axes.set_xticks(range(len(settings)), [fit(name, 16) for name in settings], fontsize=8)
    axes.set_xlim(-0.6, len(settings) - 0.4)
    spreads = [std for found in methods.values() for _, std in found.values()]
    axes.set_ylabel("test accuracy, %" + _bars(spreads))
    calm_limits(axes)
    axes.set_title(fit(title, 55), fontsize=9)
    handles, said = axes.get_legend_handles_labels()
    last = sorted(zip(said, handles, strict=True), key=lambda one: one[0] in PUBLISHED.values())
    figure.legend(
        [handle for _, handle in last],
        [text for text, _ in last],
        loc="outside right center",
        fontsize=7,
        frameon=False,
    )
    return figure


@styled
def accuracy_over_options(
    sweeps: Sequence[Sweep], others: Mapping[str, float], title: str = ""
) -> "Figure":
    """Return MA over the values of options: an ablation, with a plot for each swept option.

    Args:
        others: MA of methods without a swept option, as lines across.
    """
    panels: dict[tuple[str, str], list[Sweep]] = {}
    for sweep in sweeps:
        panels.setdefault((sweep.method, sweep.option), []).append(sweep)
    figure, plots = new_grid(1, len(panels), 3.2 * len(panels) + 2.0, 3.2, sharey=True)
    most = max(len(found) for found in panels.values())
    rows = dict.fromkeys(f"{method} {k}" for method, _ in panels for k in range(most))
    looks = looks_of([*rows, *others])
    for axes, ((method, option), found) in zip(plots, panels.items(), strict=True):
        for k, sweep in enumerate(found):
            _sweep(axes, sweep, looks[f"{method} {k}"])
        for name, ma in others.items():
            look = looks[name]
            axes.axhline(ma, label=fit(name, 30), color=look.colour, linestyle=look.dashes)
        axes.set_xlabel(f"{method}: {option}")
    plots[0].set_ylabel("MA, %" + _bars([std for s in sweeps for _, _, std in s.points]))
    calm_limits(plots[0])
    figure.suptitle(fit(title, 80), fontsize=9)
    shared_legend(figure, plots)
    return figure


def _sweep(axes: "Axes", sweep: Sweep, look: Look) -> None:
    """Draw the line of a sweep; values that are no numbers stand side by side, in their order."""
    values = [value for value, _, _ in sweep.points]
    numbers = [value for value in values if not isinstance(value, str)]
    are_numbers = len(numbers) == len(values)
    places = numbers if are_numbers else range(len(values))
    spread = [std or 0.0 for _, _, std in sweep.points]
    axes.errorbar(
        places,
        [ma for _, ma, _ in sweep.points],
        yerr=spread if any(spread) else None,
        color=look.colour,
        marker=look.marker,
        linestyle="-" if are_numbers else "none",
        capsize=3,
        label=fit(f"{sweep.method} {sweep.fixed}", 30),
    )
    axes.set_xticks(places, [v if isinstance(v, str) else f"{v:g}" for v in values])


def _bars(spreads: Sequence[float | None]) -> str:
    """Return what an axis says of its error bars."""
    return ", ± sd over seeds" if any(std is not None for std in spreads) else ", one seed"
