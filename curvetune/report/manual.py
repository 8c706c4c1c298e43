"""The manual of options for people: as lines for a terminal, and as a page."""

import json
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from curvetune.config.manual import SECTIONS, Chapter, Option, chapters, shared

HOW = (
    "--set KEY=VALUE sets an option, and a space has it in its section. VALUE is YAML. A list is "
    "an axis: cells of each value. Where an option takes nothing but lists it is one value, and a "
    "list of lists is an axis."
)
COLUMNS = 88  # of all pages
PAGE = "<!-- Made by `curvetune options --markdown > docs/all-options.md`; do not edit. -->"


def overview() -> Iterator[str]:
    """Yield the names of all sections, methods and options, without what they mean."""
    found = chapters()
    yield HOW
    for is_method, words in ((False, "Sections"), (True, "Methods")):
        yield f"\n{words} and their options (`curvetune options NAME` tells all):"
        for one in found:
            if (one.name not in SECTIONS) == is_method:
                names = [o.key.partition(".")[2] or o.key for o in one.options]
                yield f"  {one.name}: {', '.join(names)}"


def lines(chapter: Chapter) -> Iterator[str]:
    """Yield a section or a method, two lines for each option."""
    yield f"{chapter.name}: {chapter.meaning}"
    if chapter.source:
        yield f"source: {chapter.source}"
    for option in chapter.options:
        yield f"\n{option.key}={_yaml(option.default)}  {_takes(option)}{_profiles(option)}"
        of = f" Of {', '.join(option.methods)}." if chapter.name not in option.methods else ""
        yield f"    {option.meaning}{of if option.methods else ''}"


def page() -> Iterator[str]:
    """Yield the lines of the page of all options, in Markdown."""
    together = shared()
    keys = {(option.key, name) for option in together for name in option.methods}
    yield from (PAGE, "", "# Every option", "")
    yield from (
        "What a space and `--set` can say. `curvetune options NAME` shows the same of a",
        "section or a method, those of plugins too. [Spaces](spaces.md) says how to write one.",
        "",
        "A default is that of the profile `release`; what other profiles make of it stands",
        "behind it. A space has values of its own.",
    )
    for chapter in chapters():
        if chapter.name == next(iter(_methods())):
            yield from ("", "## Several methods", "", *_table(together, of_several=True))
        own = [o for o in chapter.options if (o.key, chapter.name) not in keys]
        yield from ("", f"## {chapter.name}", "")
        yield from _prose(chapter.meaning)
        if chapter.source:
            yield from ("", *_prose(f"Source: {chapter.source}."))
        if own:
            yield from ("", *_table(own))


def _prose(text: str) -> list[str]:
    return textwrap.wrap(text, COLUMNS, break_on_hyphens=False, break_long_words=False)


def _methods() -> Iterator[str]:
    return (chapter.name for chapter in chapters() if chapter.name not in SECTIONS)


def _table(options: Iterable[Option], *, of_several: bool = False) -> Iterator[str]:
    yield "| key | takes | default | meaning |"
    yield "|---|---|---|---|"
    for option in options:
        of = f" Of {', '.join(option.methods)}." if of_several else ""
        cells = (
            f"`{option.key}`",
            _takes(option),
            f"`{_yaml(option.default)}`{_profiles(option)}",
            f"{option.meaning}{of}",
        )
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _takes(option: Option) -> str:
    return ", ".join(word for word in (option.type, option.limits) if word)


def _profiles(option: Option) -> str:
    words = ", ".join(f"{name} {_yaml(value)}" for name, value in option.profiles.items())
    return f" ({words})" if words else ""


def _yaml(value: Any) -> str:
    """Return a value as it is written behind `--set KEY=`."""
    if isinstance(value, float):
        return f"{value:g}" if value != int(value) else f"{value:.1f}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"[{','.join(map(_yaml, value))}]"
    return value if isinstance(value, str) else json.dumps(value)
