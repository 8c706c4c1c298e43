"""What became of images that people bring, told before anything is trained."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from curvetune.data import duplicates
from curvetune.data.duplicates import Copies
from curvetune.data.own.left_out import LeftOut
from curvetune.errors import printable

OnBad = Literal["skip", "fail"]

NAMED = 5  # bad files that an error names


@dataclass(frozen=True)
class Report:
    """What became of the images of a folder, or of a table."""

    train: int  # images used
    test: int
    classes: tuple[str, ...]
    converted: dict[str, int]  # what was converted, and how often
    bad: tuple[tuple[str, str], ...]  # (file, reason)
    left_out: LeftOut  # what is there and is not read
    counted: bool  # whether labels.csv counts the classes instead of naming them
    copies: Copies  # what is there more than once
    facts: tuple[str, ...] = ()  # what else there is to say of it

    def words(self) -> list[str]:
        """Return what people should know about it, a line each."""
        changed = ", ".join(f"{count:,} {what}" for what, count in self.converted.items())
        size = (
            f"{self.train:,} images to train on and {self.test:,} to test on, of "
            f"{len(self.classes)} classes"
        )
        lines = [f"{size}; converted: {changed}" if changed else size]
        if self.counted:
            shown = ", ".join(
                f"{k} is {printable(c, 40)}" for k, c in enumerate(self.classes[:NAMED])
            )
            more = ", …" if len(self.classes) > NAMED else ""
            lines.append(f"the labels in labels.csv count the classes: {shown}{more}")
        lines += [*self.facts, *self.left_out.words(), *duplicates.words(self.copies)]
        if self.bad:
            lines.append(f"left out: {len(self.bad):,} bad images (--on-bad skip)")
        lines += [f"  {printable(file)}: {reason}" for file, reason in self.bad[:NAMED]]
        if len(self.bad) > NAMED:
            lines.append(f"  and {len(self.bad) - NAMED:,} more")
        return lines

    def to_json(self) -> dict[str, Any]:
        """Return it for `plan --json`."""
        return {
            "train": self.train,
            "test": self.test,
            "classes": list(self.classes),
            "converted": self.converted,
            "bad": [{"file": file, "reason": reason} for file, reason in self.bad],
            "ignored_files": len(self.left_out.others),
            "ignored_named": list(self.left_out.others[:NAMED]),
            "images_not_read": self.left_out.unread,
            "images_beside": self.left_out.beside,
            "labels_count": self.counted,
            "copies": self.copies.to_json(),
        }


def complaint(bad: Sequence[tuple[str, str]], total: int, *more: str) -> str:
    """Return why images cannot be used, a line for each of the first.

    Args:
        bad: name and reason of each.
        total: how many there are, good and bad.
        more: lines that come before what to do.
    """
    lines = [f"  {printable(name)}: {reason}" for name, reason in bad[:NAMED]]
    if len(bad) > NAMED:
        lines.append(
            f"  and {len(bad) - NAMED} more; `curvetune plan --on-bad skip --json` lists all"
        )
    head = f"{len(bad)} of {total} images cannot be used"
    how = "mend or remove them, or go on without them: --on-bad skip"
    return "\n".join([head, *lines, *more, how])
