"""Which labels of a data set are to go or to change, by the suspects of a cell."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curvetune.analysis.suspects import Suspects
from curvetune.errors import ConfigError, DataError, printable


@dataclass(frozen=True)
class Change:
    """What becomes of a training image.

    Args:
        index: of it among all training images of the data.
        old: the class that the data gives it.
        new: the class that it gets; None if it is left out.
        score: how suspicious its label is, 0 to 1; None where nobody asked.
    """

    index: int
    old: int
    new: int | None
    score: float | None
    reason: str


@dataclass(frozen=True)
class Amount:
    """How many suspects are meant; of these at most one is given, else as many as are estimated."""

    top: int | None = None
    share: float | None = None  # of the samples that were trained on
    above: float | None = None  # score

    def of(self, found: Suspects) -> NDArray[np.int64]:
        """Return positions of the suspects, the worst first.

        Raises:
            ConfigError: more than one is given.
        """
        if sum(value is not None for value in (self.top, self.share, self.above)) > 1:
            raise ConfigError("--top, --share and --above are three ways to say how many; give one")
        n = len(found.score)
        if self.above is not None:
            return found.order[found.score[found.order] > self.above]
        if self.top is not None:
            return found.order[: self.top]
        share = found.estimate if self.share is None else self.share
        return found.order[: round(share * n)]


def suspect_changes(
    found: Suspects, data_y: NDArray[np.int64], amount: Amount, *, relabel: bool
) -> dict[int, Change]:
    """Return what becomes of the suspects, by their index among the training images.

    A label that the data itself says is right stays. What an earlier list of corrections says, on
    which the cell was run, is kept too.

    Args:
        data_y: labels as the data has them, of all training images.
        relabel: give them the class that the classifier holds for the likeliest beside their own,
            instead of leaving them out.

    Raises:
        ConfigError: the wrong labels were made here, so the data has none of them; or no classifier
            can be asked.
        DataError: there are no suspects.
    """
    _check_noise(found)
    others = found.other
    if relabel and others is None:
        raise ConfigError(
            f"--relabel needs a classifier that is asked about the images; {' '.join(found.notes)}"
        )
    changes = _earlier(found, data_y)
    ranks = {int(p): rank for rank, p in enumerate(found.order, 1)}
    for position in amount.of(found):
        index = int(found.split.train[position])
        if _is_verified(found, index):
            continue
        new = int(others[position]) if relabel and others is not None else None
        old = int(data_y[index])
        changes[index] = Change(
            index, old, new, float(found.score[position]), _reason(found, position, ranks)
        )
    changes = {k: change for k, change in sorted(changes.items()) if change.new != change.old}
    if not changes:
        raise DataError(
            f"nothing to clean: the losses suggest that {found.estimate:.1%} of the labels are "
            f"wrong; say how many with --top, --share or --above"
        )
    return changes


def correction_changes(
    labels: Mapping[int, int], data_y: NDArray[np.int64], where: str
) -> dict[int, Change]:
    """Return the changes that a list of corrected labels means.

    Raises:
        DataError: the data has all of these labels already.
    """
    changes = {
        k: Change(k, int(data_y[k]), new, None, f"corrected in {where}")
        for k, new in labels.items()
        if data_y[k] != new
    }
    if not changes:
        raise DataError(f"nothing to clean: the data has the labels of {where} already")
    return changes


def check_classes(
    changes: Mapping[int, Change], data_y: NDArray[np.int64], names: tuple[str, ...]
) -> None:
    """Refuse changes that leave a class without an image to train on.

    Raises:
        DataError: they do.
    """
    y = data_y.copy()
    kept = np.ones(len(y), np.bool_)
    for k, change in changes.items():
        kept[k] = change.new is not None
        y[k] = data_y[k] if change.new is None else change.new
    before, after = (np.bincount(labels, minlength=len(names)) for labels in (data_y, y[kept]))
    if len(empty := np.flatnonzero((after == 0) & (before > 0))):
        raise DataError(
            f"class {printable(names[empty[0]])} would have no image to train on any more; take "
            f"fewer with --top, or correct labels with --relabel"
        )


def _check_noise(found: Suspects) -> None:
    bias = found.config.bias
    if (bias.noise_rate > 0 and bias.noise != "real") or bias.is_human:
        raise ConfigError(
            f"the wrong labels of this cell are not in the data: they came with bias.noise="
            f"{bias.noise}. A data set is cleaned by a cell that was trained on it as it is: one "
            f"with --set noise=real, or with noise rate 0"
        )


def _earlier(found: Suspects, data_y: NDArray[np.int64]) -> dict[int, Change]:
    """Return the corrections that the cell was trained with."""
    split = found.split
    differing = np.flatnonzero(split.y != data_y[split.train])
    reason = f"corrected before: relabels/{found.config.data.relabel}.csv"
    return {
        int(k): Change(int(k), int(data_y[k]), int(split.y[p]), None, reason)
        for p, k in zip(differing, split.train[differing], strict=True)
    }


def _is_verified(found: Suspects, index: int) -> bool:
    """Say whether the data says itself that a label is right."""
    verified = None if found.dataset is None else found.dataset.verified
    return verified is not None and verified[index] == 1


def _reason(found: Suspects, position: np.int64, ranks: Mapping[int, int]) -> str:
    if found.in_conflict[position]:
        return "one picture under two labels"
    return f"rank {ranks[int(position)]} of {len(found.score)} by {found.ranked_by}"
