"""Which class a label means, wherever labels come from: folders, labels.csv, Parquet, other lists.

    a name       is the class of that name, in whatever form of Unicode it is written (NFC)
    a number     where class names are numbers, is the class whose name is the same number: 1, 001
                 and 1.0 are one. Never a position there, and never one of several
    a position   0 to K - 1, only where no class name is a number, and only if all numbers of the
                 list together can be nothing else (`positions`)

Nothing here opens a file. What is not one class for certain is none.
"""

import re
import unicodedata
from collections.abc import Collection, Iterable

from curvetune.errors import DataError, printable

LONGEST = 255  # characters: of a file's name, and so of a class folder's
SHOWN = 10  # classes that an error names

_PLAIN = re.compile(r"([+-]?)([0-9]+)(?:\.([0-9]*))?")


def number(label: str) -> str | None:
    """Return a plain number in its shortest form, "1" of "001" and of "1.0"; None of a name.

    As text, so that no number is too long and no fraction is rounded.
    """
    match = _PLAIN.fullmatch(label) if len(label) <= LONGEST else None
    if match is None:
        return None
    whole, fraction = match[2].lstrip("0") or "0", (match[3] or "").rstrip("0")
    shortest = f"{whole}.{fraction}" if fraction else whole
    return f"-{shortest}" if match[1] == "-" and shortest != "0" else shortest


def same(label: str) -> str:
    """Return what labels of the same class have in common: their number, or their NFC form."""
    return number(label) or unicodedata.normalize("NFC", label)


class Classes:
    """The names of the classes, and which of them a label means."""

    def __init__(self, names: Iterable[str]) -> None:
        self.names = tuple(names)
        self.have_numbers = any(number(name) is not None for name in self.names)
        self._exactly: dict[str, list[int]] = {}
        self._alike: dict[str, list[int]] = {}
        for k, name in enumerate(self.names):
            self._exactly.setdefault(name, []).append(k)
            self._alike.setdefault(same(name), []).append(k)

    def find(self, label: str) -> int | None:
        """Return the class that a label means, from 0; None if it is none, or several."""
        found = self._exactly.get(label) or self._alike.get(same(label), [])
        return found[0] if len(found) == 1 else None

    def why_not(self, label: str) -> str:
        """Say of a label that is none, or several, what is wrong with it and what is allowed."""
        several = self._exactly.get(label) or self._alike.get(same(label), [])
        if len(several) > 1:
            names = ", ".join(ascii(self.names[k]) for k in several[:SHOWN])
            return f" means {len(several)} classes ({names}); write one of these names"
        problem = unfit(label)
        return f"{f' is {problem}' if problem else ''}; {self.allowed()}"

    def allowed(self) -> str:
        """Say in words what a label can be."""
        shown = ", ".join(printable(name, 40) for name in self.names[:SHOWN])
        more = f" … ({len(self.names)} in all)" if len(self.names) > SHOWN else ""
        return f"allowed are {shown}{more}{', compared as numbers' if self.have_numbers else ''}"


def unfit(label: str) -> str | None:
    """Say why a label cannot name a class where the labels are all that there is; None if it can.

    Names are whatever they are. But a number has to be one that counts classes: a fraction, or a
    number in another notation, would make a class of each of its spellings.
    """
    if not label:
        return "no label"
    if len(label) > LONGEST:
        return f"longer than {LONGEST} characters"
    plain = number(label)
    if plain is None:
        return "a number that is not written in the digits 0 to 9" if _is_odd(label) else None
    if plain.startswith("-"):
        return "a negative number"
    return "a fraction" if "." in plain else None


def named_by(labels: Iterable[str]) -> tuple[str, ...]:
    """Return the classes that a list of labels names, numbers in their own order, else by name.

    Labels that are the same are one class. It is called as it is written, and by its shortest
    form if it is written in several ways.
    """
    spellings: dict[str, set[str]] = {}
    for label in set(labels):
        if unfit(label) is None:
            spellings.setdefault(same(label), set()).add(label)
    names = {key: min(found) if len(found) == 1 else key for key, found in spellings.items()}
    if all(number(key) is not None for key in names):
        return tuple(names[key] for key in sorted(names, key=lambda key: (len(key), key)))
    return tuple(sorted(names.values()))


def alike(names: Collection[str]) -> list[str]:
    """Return the first names that differ only in their form of Unicode, none if there are none."""
    forms: dict[str, list[str]] = {}
    for name in sorted(names):
        forms.setdefault(unicodedata.normalize("NFC", name), []).append(name)
    return next((found for found in forms.values() if len(found) > 1), [])


def positions(classes: Classes, labels: Iterable[str], where: str) -> dict[str, int]:
    """Return the class of each label of a list that counts the classes; none if it names them.

    A list counts if no class name is a number and it has no names. Then it has to have a 0, since
    else it may count from 1, and nothing from K on, since then it counts something else.

    Args:
        where: the list, for the error.

    Raises:
        DataError: numbers from which nobody can say what they count.
    """
    given = {label: number(label) for label in labels if label}
    if classes.have_numbers or any(plain is None for plain in given.values()):
        return {}
    counts = {label: plain for label, plain in given.items() if plain and plain.isdecimal()}
    last = len(classes.names) - 1
    found = {label: int(plain) for label, plain in counts.items() if _at_most(plain, last)}
    if len(found) == len(counts) and (not counts or 0 in found.values()):
        return found
    ordered = sorted(counts.values(), key=lambda plain: (len(plain), plain))
    raise DataError(
        f"{where}: its labels are numbers from {printable(ordered[0], 40)} to "
        f"{printable(ordered[-1], 40)}, and no class is called so; {classes.allowed()}. Numbers "
        f"count from 0, up to {last}, and 0 has to be among them, since else they may count "
        f"from 1. Write the names of the classes, or numbers from 0"
    )


def _at_most(plain: str, last: int) -> bool:
    return len(plain) <= len(str(last)) and int(plain) <= last


def _is_odd(label: str) -> bool:
    """Say whether a text is a number to Python, or to a person, but none in plain digits."""
    if not any(c.isdigit() for c in label):  # nan and inf are names
        return False
    try:
        return label.isdigit() or float(label) is not None
    except ValueError:
        return False
