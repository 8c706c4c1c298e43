"""The publications that methods are from, as BibTeX; references.yaml has them."""

import functools
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from curvetune.config.base import Section
from curvetune.config.load import parse_yaml, validate
from curvetune.errors import printable

FILE = Path(__file__).with_name("references.yaml")
VENUE = {"inproceedings": "booktitle", "article": "journal", "misc": "howpublished"}
KEPT = "{{{}}}"  # BibTeX makes capitals small outside of braces


class Reference(Section):
    """A publication, and the methods that are from it."""

    key: str
    kind: Literal["inproceedings", "article", "misc"]
    methods: tuple[str, ...]
    title: str
    author: str
    venue: str
    year: int


class References(Section):
    """All of them."""

    entries: tuple[Reference, ...]


@functools.cache
def references() -> tuple[Reference, ...]:
    """Return the publications of all methods of the package.

    Raises:
        ConfigError: the file is damaged.
    """
    entries: Any = parse_yaml(FILE.read_text(encoding="utf-8"), FILE.name)
    return validate({"entries": entries}, References, FILE.name).entries


def bibtex(methods: Iterable[str]) -> str:
    """Return an entry for each publication that these methods are from, in the order of the file.

    A comment names each method that is of no publication known here, as one of a plugin.
    """
    wanted = [*dict.fromkeys(methods)]
    found = [one for one in references() if {*one.methods} & {*wanted}]
    known = {name for one in found for name in one.methods}
    comments = [
        f"% {printable(name)}: its plugin says where it is from\n"
        for name in wanted
        if name not in known
    ]
    return "\n".join([*map(_entry, found), *comments])


def _entry(one: Reference) -> str:
    fields = {
        "author": one.author,
        "title": KEPT.format(one.title),
        VENUE[one.kind]: one.venue,
        "year": str(one.year),
    }
    lines = "".join(f"  {name} = {{{value}}},\n" for name, value in fields.items())
    return f"% {', '.join(one.methods)}\n@{one.kind}{{{one.key},\n{lines}}}\n"
