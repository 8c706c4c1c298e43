"""The figure of a search: how good the best trial of each method is after so many trials."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from curvetune.report.figures.style import calm_limits, fit, looks_of, new_axes, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@styled
def search_curves(best: Mapping[str, Sequence[float]], title: str = "") -> "Figure":
    """Return the best accuracy so far, in percent, against trials; trial 1 is the default.

    Args:
        best: of each method, after each of its trials. Of one trial it is a point.
    """
    figure, axes = new_axes(5.0, 3.2)
    for name, look in looks_of([*best]).items():
        trials = range(1, len(best[name]) + 1)
        axes.step(
            trials,
            best[name],
            where="post",
            label=fit(name, 24),
            color=look.colour,
            linestyle=look.dashes,
            marker=look.marker if len(trials) == 1 else None,
        )
    calm_limits(axes)
    axes.set_xlabel("trial (the first is the default)")
    axes.set_ylabel("best validation accuracy so far, %")
    axes.locator_params(axis="x", integer=True)
    axes.set_title(fit(title, 60), fontsize=9)
    axes.legend(frameon=False, fontsize=8)
    return figure
