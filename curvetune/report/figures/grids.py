"""Figures of a whole grid: heat maps over the bias settings, accuracy against cost, ablations."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from curvetune.report.figures.style import CYCLE, fit, line_style, new_axes, new_grid, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Heat = Mapping[tuple[float, float], float | None]  # (imbalance, noise rate) -> percent
COLUMNS = 4  # heat maps in a row
MARKERS = "osD^vP*X<>ph"
LEGEND_LINE = 0.16  # inches of a line of a legend of 7 points
FEW = 8  # methods whose legend fits into the plot
SPREAD = 0.84  # of the width of a setting, which its methods share


@styled
def heat_maps(
    methods: Mapping[str, Heat],
    unit: str,
    *,
    signed: bool = False,
    words: tuple[Mapping[float, str], Mapping[float, str]] = ({}, {}),
) -> "Figure":
    """Return a heat map over imbalance × noise rate for each method, all with the same shades.

    Args:
        words: what an imbalance and a noise rate are called, where that is not the number.
        signed: values are differences: red is above zero, blue below it, white is none.
    """
    imbalances = sorted({place[0] for heat in methods.values() for place in heat})
    rates = sorted({place[1] for heat in methods.values() for place in heat})
    known = [v for heat in methods.values() for v in heat.values() if v is not None]
    low, high = _range(known, signed=signed)
    columns = min(COLUMNS, len(methods))
    rows = -(-len(methods) // columns)
    size = 0.55 * len(rates) + 1.4, 0.42 * len(imbalances) + 1.1
    figure, plots = new_grid(rows, columns, max(3.4, columns * size[0] + 0.9), rows * size[1] + 0.3)
    image: Any = None
    for axes, (name, heat) in zip(plots, methods.items(), strict=False):
        values = np.array([[_or_nan(heat.get((i, r))) for r in rates] for i in imbalances])
        cmap = "RdBu_r" if signed else "viridis"
        image = axes.imshow(values, cmap=cmap, vmin=low, vmax=high, aspect="auto")
        axes.set_title(fit(name, 22), fontsize=8)
        axes.set_xticks(range(len(rates)), [words[1].get(r, f"{r:g}") for r in rates], fontsize=7)
        called = [words[0].get(i, f"{i:g}") for i in imbalances]
        axes.set_yticks(range(len(imbalances)), called, fontsize=7)
        for (row, column), value in np.ndenumerate(values):
            text = "–" if np.isnan(value) else f"{value:+.1f}" if signed else f"{value:.1f}"
            color = _ink(image, value)
            axes.text(column, row, text, ha="center", va="center", color=color, fontsize=7)
    for axes in plots[len(methods) :]:
        axes.set_visible(False)
    figure.supxlabel("noise rate", fontsize=9)
    figure.supylabel("imbalance", fontsize=9)
    if image is not None:
        figure.colorbar(image, ax=list(plots), label=unit, shrink=0.8, aspect=40)
    return figure


def _range(known: Sequence[float], *, signed: bool) -> tuple[float, float]:
    if not known:
        return 0.0, 1.0
    if signed:
        most = max(abs(value) for value in known) or 1.0
        return -most, most
    return min(known), max(max(known), min(known) + 1e-9)


def _or_nan(value: float | None) -> float:
    return float("nan") if value is None else value


def _ink(image: Any, value: float) -> str:
    """Return the colour in which a number can be read on its shade."""
    if np.isnan(value):
        return "black"
    red, green, blue, _ = image.cmap(image.norm(value))
    return "black" if 0.299 * red + 0.587 * green + 0.114 * blue > 0.5 else "white"


@styled
def accuracy_against_cost(
    methods: Mapping[str, tuple[float, float | None, float]], device: str
) -> "Figure":
    """Return MA against the seconds of a method's cells.

    Args:
        methods: of each, MA and its sd in percent (or None), and seconds a cell, with its probe.
    """
    figure, axes = new_axes(6.5, max(3.8, 0.6 + LEGEND_LINE * len(methods)))
    for k, (name, (ma, std, seconds)) in enumerate(methods.items()):
        marker, color = MARKERS[k % len(MARKERS)], CYCLE[k % len(CYCLE)]
        axes.errorbar(
            seconds, ma, yerr=std, fmt=marker, color=color, label=fit(name, 40), capsize=2
        )
    figure.legend(loc="outside right upper", fontsize=7, frameon=False)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("{x:g}")
    axes.tick_params(axis="x", which="both", labelsize=7)
    axes.set_xlabel(f"seconds a cell, its probe included, on {device}")
    axes.set_ylabel("MA, %, ± sd over seeds")
    return figure


@styled
def accuracy_by_setting(
    methods: Mapping[str, Mapping[str, tuple[float, float | None]]],
) -> "Figure":
    """Return the accuracy of each method in each bias setting, with its spread over seeds.

    Args:
        methods: of each, its settings by name, and of each of them mean and sd (or None), percent.
    """
    settings = list(dict.fromkeys(name for of in methods.values() for name in of))
    few = len(methods) <= FEW
    height = 3.2 if few else max(3.2, 0.6 + LEGEND_LINE * len(methods))
    width = max(4.5, 1.4 * len(settings) + (0 if few else 0.05 * len(settings) * len(methods)))
    figure, axes = new_axes(width, height)
    step = min(0.16, SPREAD / len(methods))
    for k, (method, found) in enumerate(methods.items()):
        place = [settings.index(name) + step * (k - (len(methods) - 1) / 2) for name in found]
        axes.errorbar(
            place,
            [mean for mean, _ in found.values()],
            yerr=[std or 0.0 for _, std in found.values()],
            fmt=MARKERS[k % len(MARKERS)],
            color=CYCLE[k % len(CYCLE)],
            label=fit(method, 40),
            capsize=3,
        )
    axes.set_xticks(range(len(settings)), [fit(name, 14) for name in settings], fontsize=8)
    axes.set_xlim(-0.6, len(settings) - 0.4)
    axes.set_ylabel("test accuracy, %, ± sd over seeds")
    if few:
        axes.legend(frameon=False, fontsize=8)
    else:
        figure.legend(loc="outside right upper", fontsize=7, frameon=False)
    return figure


@styled
def accuracy_over_option(
    option: str,
    points: Sequence[tuple[float, float, float | None]],
    others: Mapping[str, float],
) -> "Figure":
    """Return MA over the values of an option: an ablation.

    Args:
        points: value of the option, MA, and its sd or None.
        others: MA of methods without the option, as lines across.
    """
    figure, axes = new_axes(5.0, 3.2)
    values, mas, stds = zip(*sorted(points, key=lambda point: point[0]), strict=True)
    spread: NDArray[np.float64] = np.array([std or 0.0 for std in stds])
    axes.errorbar(values, mas, yerr=spread if spread.any() else None, marker="o", capsize=3)
    for k, (name, ma) in enumerate(others.items(), start=1):
        axes.axhline(ma, label=fit(name, 40), **line_style(k))
    axes.set_xlabel(option)
    axes.set_ylabel("MA, %")
    axes.set_xticks(values)
    if others:
        axes.legend(frameon=False)
    return figure
