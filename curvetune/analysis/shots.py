"""Many-, medium- and few-shot accuracy: where in the long tail a method wins or loses.

Convention of Liu et al., "Large-Scale Long-Tailed Recognition in an Open World", CVPR 2019: classes
of more than 100, of 20 to 100, and of fewer than 20 training samples. On a small or short-tailed
data set that leaves groups empty; then thirds of the classes by size are taken. All cells of a grid
follow one rule. Classes are counted by their true labels, since the tail is one of images.
"""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Literal

import numpy as np

MANY, FEW = 100, 20
GROUPS = ("many", "medium", "few")
Rule = Literal["counts", "thirds"]
Groups = Mapping[str, Sequence[int]]  # classes of each group

SAID: dict[Rule, str] = {
    "counts": f"many, medium, few: mean accuracy of the classes of more than {MANY}, {FEW} to "
    f"{MANY}, fewer than {FEW} training samples (Liu et al., CVPR 2019)",
    "thirds": f"many, medium, few: mean accuracy of the largest, middle and smallest third of the "
    f"classes, since the usual groups (more than {MANY}, {FEW} to {MANY}, fewer than {FEW} "
    f"training samples) would be empty in some cell; balanced cells have none",
}


def rule_of(counts: Sequence[Sequence[int]]) -> Rule:
    """Return the rule for cells of these class counts: thirds if the usual groups are empty."""
    uneven = [one for one in counts if len(set(one)) > 1]
    usual = all(all(by_counts(one).values()) for one in uneven)
    return "counts" if usual and uneven else "thirds"


def groups_of(counts: Sequence[int], rule: Rule) -> Groups:
    """Return the classes of each group; all groups are empty where all classes are equal."""
    if len(set(counts)) < 2:
        return dict.fromkeys(GROUPS, ())
    return by_counts(counts) if rule == "counts" else by_thirds(counts)


def by_counts(counts: Sequence[int]) -> Groups:
    """Return the classes of more than 100, 20 to 100 and fewer than 20 samples."""
    classes = range(len(counts))
    return {
        "many": [k for k in classes if counts[k] > MANY],
        "medium": [k for k in classes if FEW <= counts[k] <= MANY],
        "few": [k for k in classes if counts[k] < FEW],
    }


def by_thirds(counts: Sequence[int]) -> Groups:
    """Return thirds of the classes by falling size; the first ones take what is over."""
    order = np.argsort(-np.asarray(counts), kind="stable")
    parts = [part.tolist() for part in np.array_split(order, len(GROUPS))]
    return dict(zip(GROUPS, parts, strict=True))


def shot_accuracy(per_class: Sequence[float | None], groups: Groups) -> dict[str, float | None]:
    """Return the mean accuracy of each group's classes; None of an empty one."""
    found: dict[str, float | None] = {}
    for name, classes in groups.items():
        values = [per_class[k] for k in classes if k < len(per_class)]
        known = [value for value in values if isinstance(value, int | float)]
        # a group with a class that was not tested has no mean: it would be of fewer classes
        found[name] = fmean(known) if known and len(known) == len(classes) else None
    return found
