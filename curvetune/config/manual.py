"""The manual of options, read off the sections: what `--set` and a space can say.

Nothing is written twice: types, limits, defaults and meanings are those that the config checks
with, and what a profile makes of a default is what it does make of it.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from curvetune.config.cell import METHOD_SECTIONS, CellConfig
from curvetune.config.kinds import alternatives, section_of
from curvetune.config.plugins import PLUGINS
from curvetune.config.profiles import PROFILES, apply_profile
from curvetune.errors import ConfigError, nearest, printable

SECTIONS = tuple(name for name in CellConfig.model_fields if name != "method")
FOUND = ("plugin", "transform_plugin")  # by a name that a plugin has registered, never given
WORDS = {int: "whole number", float: "number", bool: "true or false", str: "text"}
LIMITS = {
    "ge": "at least {}",
    "gt": "above {}",
    "le": "at most {}",
    "lt": "below {}",
    "max_length": "at most {} characters",
    "pattern": "of the form {}",
}


@dataclass(frozen=True)
class Option:
    """One key of a space.

    Args:
        key: as `--set` takes it.
        default: in plain JSON.
        profiles: what it becomes with a profile that changes it.
        methods: that have it; none of an option of other sections.
    """

    key: str
    type: str
    limits: str
    default: Any
    profiles: dict[str, Any]
    meaning: str
    methods: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return it as plain JSON."""
        found = {name: value for name, value in vars(self).items() if name != "methods"}
        return found | ({"methods": list(self.methods)} if self.methods else {})


@dataclass(frozen=True)
class Chapter:
    """A section or a method, with its options."""

    name: str
    meaning: str
    source: str  # a paper or a repository, with the section or the file; empty if none
    options: tuple[Option, ...]

    def to_json(self) -> dict[str, Any]:
        """Return it as plain JSON."""
        found = {"name": self.name, "meaning": self.meaning, "source": self.source or None}
        return {**found, "options": [option.to_json() for option in self.options]}


def chapters() -> list[Chapter]:
    """Return every section, then every method, those of plugins that are loaded among them."""
    return [chapter(name) for name in (*SECTIONS, *METHOD_SECTIONS)]


def chapter(name: str) -> Chapter:
    """Return what there is to know of a section, of a method, or of the options of one name.

    Raises:
        ConfigError: there is none.
    """
    if name in METHOD_SECTIONS:
        return _of_method(name)
    if name not in SECTIONS:
        return _of_key(name)
    field = CellConfig.model_fields[name]
    section = section_of(field.annotation)
    cells = _cells({})
    if section is None:
        option = _option(name, field, partial(_value_at, cells, (name,)))
        return Chapter(name, option.meaning, "", (option,))
    source = getattr(section, "source", "")
    return Chapter(name, _first_line(section), source, tuple(_options(section, (name,), cells)))


def shared() -> list[Option]:
    """Return the options that several methods have alike, each once, with those methods."""
    every = _together(option for name in METHOD_SECTIONS for option in chapter(name).options)
    return [option for option in every if len(option.methods) > 1]


def _of_key(name: str) -> Chapter:
    """Return all options that are called so, in full or in short."""
    every = [option for one in chapters() for option in one.options]
    found = tuple(o for o in every if o.key == name or o.key.endswith(f".{name}"))
    if not found:
        known = [*SECTIONS, *METHOD_SECTIONS, *(o.key.rpartition(".")[2] for o in every)]
        raise ConfigError(
            f"{printable(name)!r} is no section, method or option{nearest(name, known)}; sections "
            f"are {', '.join(SECTIONS)}, and methods {', '.join(METHOD_SECTIONS)}"
        )
    return Chapter(name, "options of that name", "", _together(found))


def _together(options: Iterable[Option]) -> tuple[Option, ...]:
    """Return options, those that several methods have alike once, with these methods."""
    found: dict[str, list[Option]] = {}
    for option in options:
        found.setdefault(json.dumps({**option.to_json(), "methods": None}), []).append(option)
    return tuple(
        replace(same[0], methods=tuple(name for option in same for name in option.methods))
        for same in found.values()
    )


def _of_method(name: str) -> Chapter:
    section = METHOD_SECTIONS[name]
    options = _options(section, ("method",), _cells({"method": {"name": name}}), methods=(name,))
    plugin = PLUGINS.methods.get(name)
    source = f"{section.source} ({plugin.ref})" if plugin is not None else section.source
    return Chapter(name, _first_line(section), source, tuple(options))


def _cells(values: Mapping[str, Any]) -> dict[str, CellConfig]:
    """Return a cell at its defaults, as each profile makes it."""
    cell = CellConfig.model_validate(values)
    return {name: apply_profile(cell, name) for name in PROFILES}


def _options(
    section: type[BaseModel],
    place: tuple[str, ...],
    cells: Mapping[str, CellConfig],
    methods: tuple[str, ...] = (),
) -> Iterator[Option]:
    for name, of in section.model_fields.items():
        if name in FOUND or (methods and name == "name" and len(place) == 1):
            continue
        inner = section_of(of.annotation)
        if inner is not None:
            yield from _options(inner, (*place, name), cells, methods)
            continue
        value = partial(_value_at, cells, (*place, name))
        yield _option(".".join((*place, name)), of, value, methods)


def _option(key: str, field: FieldInfo, value: Any, methods: tuple[str, ...] = ()) -> Option:
    default = value("release")
    changed = {name: value(name) for name in PROFILES if value(name) != default}
    whole: Any = Annotated[field.annotation, field]
    return Option(
        key=key,
        type=_type(field.annotation),
        limits=", ".join(dict.fromkeys(_limits(whole))),
        default=default,
        profiles=changed,
        meaning=" ".join([field.description or "", *_of_plugins(key)]),
        methods=methods,
    )


def _of_plugins(key: str) -> list[str]:
    """Return what plugins that are loaded add to the names that an option takes."""
    tables: dict[str, Iterable[str]] = {
        "data.name": PLUGINS.sources,
        "data.transform": PLUGINS.transforms,
        "model.name": PLUGINS.models,
    }
    names = ", ".join(tables.get(key, ()))
    return [f"Of plugins here: {names}."] if names else []


def _value_at(cells: Mapping[str, CellConfig], place: tuple[str, ...], profile: str) -> Any:
    """Return what stands at a place of the cell of a profile, in plain JSON."""
    found: Any = cells[profile]
    for name in place:
        found = getattr(found, name)
    return list(found) if isinstance(found, tuple) else found


def _type(annotation: Any) -> str:
    """Return in words what an annotation allows."""
    return " or ".join(dict.fromkeys(_word(part) for part in alternatives(annotation)))


def _word(part: Any) -> str:
    if part is type(None):
        return "null"
    if get_origin(part) is Literal:
        return ", ".join(json.dumps(v) if isinstance(v, bool) else str(v) for v in get_args(part))
    if get_origin(part) in (tuple, list):
        return f"list of {_type(get_args(part)[0])}s"
    return WORDS.get(part, getattr(part, "__name__", str(part)))


def _limits(annotation: Any) -> Iterator[str]:
    """Yield the limits of an annotation in words, those of its parts too."""
    if get_origin(annotation) is Annotated:
        inner, *known = get_args(annotation)
        for one in known:
            for limit in one.metadata if isinstance(one, FieldInfo) else [one]:
                yield from _limit_words(limit)
        yield from _limits(inner)
        return
    for part in get_args(annotation):
        yield from _limits(part)


def _limit_words(limit: Any) -> Iterator[str]:
    for name, words in LIMITS.items():
        bound = getattr(limit, name, None)
        if bound is not None:
            yield words.format(f"{bound:,}" if isinstance(bound, int) else bound)


def _first_line(section: type[BaseModel]) -> str:
    return (section.__doc__ or "").strip().partition("\n")[0]
