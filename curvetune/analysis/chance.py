"""Which accuracies are no better than chance, so that nobody takes them for a result.

Who knows nothing of the images answers with the most frequent class of the test set, and is right
as often as that class is there: one in K of K equal classes. Of n test images that many are not
right each time: the number is binomial. An accuracy up to the upper end of the central 95 % of that
distribution is at chance level. So it is done by Combrisson and Jerbi, "Exceeding chance level by
chance", Journal of Neuroscience Methods 250, 2015, with the share of the largest class for classes
that are not equal.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

from curvetune.analysis.quantiles import binomial_quantile
from curvetune.grids.cells import Cell, Grid

MARK = "†"


@dataclass(frozen=True)
class Chance:
    """What a classifier that knows nothing comes to on a test set.

    Args:
        level: the highest accuracy in percent that is no better.
        images: n, that it is tested on.
        share: of the most frequent class, from 0 to 1.
        classes: K.
    """

    level: float
    images: int
    share: float
    classes: int

    @property
    def words(self) -> str:
        """Where the level comes from."""
        is_even = round(self.share * self.classes, 2) <= 1
        what = "one in" if is_even else "the largest class of"
        percent = "" if is_even else f" ({100 * self.share:.1f} % of them)"
        return f"{self.level:.1f} %, from {what} {self.classes} classes{percent}"


def chance_of(grid: Grid, cell: Cell) -> Chance | None:
    """Return the chance level of a cell's test images; None if nobody counted their classes."""
    sizes = grid.test_sizes
    if not sizes or not sum(sizes):
        return None
    total = sum(sizes)
    images = min(total, cell.config["data"].get("test_limit") or total)
    share = max(sizes) / total
    return Chance(level(images, share), images, share, sum(size > 0 for size in sizes))


def is_at_chance(chance: Chance | None, accuracy: float | None) -> bool | None:
    """Say whether an accuracy in percent is no better than chance; None if that is not known."""
    return None if chance is None or accuracy is None else accuracy <= chance.level


@functools.lru_cache
def level(images: int, share: float) -> float:
    """Return the upper end of the central 95 % of Binomial(images, share), in percent of images."""
    if share >= 1:
        return 100.0
    return 100 * binomial_quantile(images, share) / images


def chance_note(found: Sequence[Chance]) -> list[str]:
    """Return what the mark means, for the levels that a table has; nothing without any."""
    levels = dict.fromkeys(found)
    if not levels:
        return []
    each = "; ".join(f"{one.words}, on {one.images:,} test images" for one in levels)
    return [
        f"{MARK} no better than chance in a setting: at most {each} (upper end of the binomial "
        f"95 % interval; Combrisson and Jerbi 2015)"
    ]
