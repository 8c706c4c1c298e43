"""What the options of a section take: read off their annotations, once for `--set` and the manual.

An option that takes nothing but lists has a list as one value. Of all others a list is an axis.
"""

from collections.abc import Callable, Iterator
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from curvetune.config.cell import METHOD_SECTIONS, CellConfig


def section_of(annotation: Any) -> type[BaseModel] | None:
    """Return the section that an option is, None if it is none."""
    found = [part for part in alternatives(annotation) if isinstance(part, type)]
    return next((part for part in found if issubclass(part, BaseModel)), None)


def alternatives(annotation: Any) -> Iterator[Any]:
    """Yield what an annotation allows, one by one, without the limits of each."""
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from alternatives(get_args(annotation)[0])
    elif origin in (Union, UnionType):
        for part in get_args(annotation):
            yield from alternatives(part)
    else:
        yield annotation


def annotations(key: str) -> list[Any]:
    """Return what a dotted key is annotated with, in each section that has it."""
    first, *rest = key.split(".")
    found: list[Any] = []
    if first == "method":
        found = list(METHOD_SECTIONS.values())
    elif first in CellConfig.model_fields:
        found = [CellConfig.model_fields[first].annotation]
    for name in rest:
        sections = [section for one in found if (section := section_of(one)) is not None]
        fields = [section.model_fields for section in sections]
        found = [of[name].annotation for of in fields if name in of]
    return found


def is_section(key: str) -> bool:
    """Say whether a dotted key has options of its own."""
    return any(section_of(annotation) is not None for annotation in annotations(key))


def is_nested(key: str) -> bool:
    """Say whether a dotted key is an option of a section that is an option itself."""
    return key.count(".") > 1 and bool(annotations(key))


def takes_lists_only(key: str) -> bool:
    """Say whether every value of a dotted key is a list."""
    return _all(key, lambda part: get_origin(part) in (tuple, list))


def takes_no_text(key: str) -> bool:
    """Say whether no value of a dotted key is a text."""
    return _all(key, lambda part: part is not str and get_origin(part) is not Literal)


def _all(key: str, fits: Callable[[Any], bool]) -> bool:
    found = annotations(key)
    return bool(found) and all(fits(part) for one in found for part in alternatives(one))
