"""Search spaces: a YAML file in, the cells of a grid out.

    plugins: [my_method.py]        # optional: whose methods, networks and more it uses
    base:                          # what all cells share
      data: {name: cifar10}
      bias: {noise: flip2}
    grid:                          # one axis per entry; the product is the grid
      imbalance: [1, 20]           # short for bias.imbalance
      noise_rate: [0.0, 0.4]
      seed: [0, 1, 2]
      method:
        - {name: cross-entropy}
        - {name: curvenet, skip_layers: [0, 3]}   # a list inside an entry: an axis of it alone

Precedence: config defaults < space < profile < `--set`.

What `curvetune show GRID` prints is a space too (planning/again.py). It is `resolved`: its values
are those that ran, so neither a profile nor a published recipe is applied to them again. It may be
several grids under `grids`, whose cells are put together, and says its name, profile and places.
"""

import importlib.resources
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationInfo, field_validator
from pydantic_core import PydanticKnownError

from curvetune.config import METHOD_SECTIONS, CellConfig, Section
from curvetune.config.fingerprint import GRID_NAME
from curvetune.config.load import full_key, parse_yaml, read_yaml, validate
from curvetune.config.profiles import RELEASE
from curvetune.errors import ConfigError, nearest, printable
from curvetune.planning.cells import CellMaker, merged
from curvetune.planning.set_values import axes_of, values_of
from curvetune.plugins.load import load_installed, load_plugins

MAX_CELLS = 100_000  # a guard against a slip of the hand: to plan so many takes a minute


class SpaceFile(Section):
    """The keys of a search-space file."""

    base: dict[str, Any] = Field(default_factory=dict)
    plugins: tuple[str, ...] = ()  # files, below the space's own folder, or modules
    grids: tuple[dict[str, list[Any]], ...] = ()  # in place of `grid`
    grid: Annotated[dict[str, list[Any]] | None, Field(validate_default=True)] = None
    name: Annotated[str | None, Field(pattern=f"^{GRID_NAME.pattern}$")] = None  # else the file's
    resolved: bool = False
    profile: str | None = None  # that the values of a resolved space have in them
    data_dir: str | None = None  # unless --data-dir is given
    on_bad: str | None = None

    @field_validator("grid")
    @classmethod
    def _it_has_axes(
        cls, grid: dict[str, list[Any]] | None, info: ValidationInfo
    ) -> dict[str, list[Any]] | None:
        if info.data.get("grids"):
            if grid is not None:
                raise ValueError("is there beside grids, which takes its place; leave one out")
            return None
        if grid is None:
            raise PydanticKnownError("missing")
        if not grid:
            sizes = {"field_type": "Dictionary", "min_length": 1, "actual_length": 0}
            raise PydanticKnownError("too_short", sizes)
        return grid

    @field_validator("profile")
    @classmethod
    def _it_is_of_a_resolved_space(cls, profile: str | None, info: ValidationInfo) -> str | None:
        if profile is not None and not info.data.get("resolved"):
            raise ValueError(
                f"{profile}: is for a resolved space; leave it out, and give --profile"
            )
        return profile


@dataclass(frozen=True)
class Space:
    """A named set of cells."""

    name: str
    cells: tuple[CellConfig, ...]
    profile: str = RELEASE  # that is in them
    data_dir: str | None = None  # where its images were, for who does not say
    on_bad: str | None = None


def spaces_folder() -> Path:
    """Return the folder of the built-in spaces, from a wheel or from a source checkout."""
    package = Path(str(importlib.resources.files("curvetune")))
    inside = package / "search_spaces"
    return inside if inside.is_dir() else package.parent / "search_spaces"


def find_space(name_or_path: str) -> Path:
    """Return the file of a built-in space's name, or of a path.

    Raises:
        ConfigError: there is neither such a space nor such a file.
    """
    path, shown = Path(name_or_path), repr(printable(name_or_path))
    if path.suffix in (".yaml", ".yml"):
        if not _is_file(path):
            raise ConfigError(f"search space {shown}: there is no such file; give a .yaml file")
        if not GRID_NAME.fullmatch(path.stem):
            raise ConfigError(
                f"search space {shown}: a grid is named like its file; allowed are letters from a "
                f"to z, digits, '.', '_' and '-', at most 128: rename the file"
            )
        return path
    builtin = {file.stem: file for file in spaces_folder().glob("*.yaml")}
    if name_or_path in builtin:
        return builtin[name_or_path]
    raise ConfigError(
        f"unknown search space {shown}{nearest(name_or_path, builtin)}; "
        f"allowed are {', '.join(sorted(builtin))}, or the path of a .yaml file"
    )


def load_space(
    name_or_path: str,
    *,
    profile: str = "release",
    methods: Sequence[str] = (),
    seeds: Sequence[int] = (),
    fixed: Mapping[str, str] | None = None,
    plugins: Sequence[str] = (),
    name: str = "",
) -> Space:
    """Return the cells of a space, each once, in the order of its axes.

    Args:
        methods: names that replace the space's own choice of methods; `all` is every method. A
            method keeps the options that the space gives it.
        seeds: seeds that replace the space's own.
        fixed: `--set`: a key and its value as YAML text (set_values.py).
        plugins: files and modules that register methods and more, beside the space's own.
        name: of the grid; that of the space unless given.

    Raises:
        ConfigError: a wrong key, value, name or path; or nothing is left to run.
    """
    path = find_space(name_or_path)
    origin = printable(path)
    file = validate(read_yaml(path), SpaceFile, origin)
    load_installed()
    given = load_plugins(plugins)
    load_plugins(file.plugins, path.parent, beside=given)
    profile = _profile(file, profile, origin)
    settings = axes_of(fixed or {})
    make = CellMaker(origin, profile, resolved=file.resolved)
    cells: dict[tuple[str, ...], CellConfig] = {}
    for grid in _chosen_grids(file, methods, seeds, origin):
        _check_size(grid, settings, origin)
        for point in _points(grid, origin):
            written = make.cell(merged(file.base, point))
            for override in _points(settings, "--set"):
                cell = make.override(written, override)
                cells[make.text(cell)] = cell
    _check_used(settings, list(cells.values()))
    if not cells:
        raise ConfigError(f"{origin}: the grid is empty; each axis needs at least one value")
    found = name or file.name or path.stem
    return Space(found, tuple(cells.values()), profile, file.data_dir, file.on_bad)


def cell_of(
    values: Mapping[str, Any],
    *,
    profile: str = "release",
    fixed: Mapping[str, str] | None = None,
    plugins: Sequence[str] = (),
) -> CellConfig:
    """Return one cell: dotted keys with their values, as a point of a space has them.

    Args:
        fixed: `set`: a key and its value as YAML text; a list there is one value.
        plugins: files and modules that register methods and more.

    Raises:
        ConfigError: a wrong key or value.
    """
    load_installed()
    load_plugins(plugins)
    make = CellMaker("train", profile)
    cell = make.cell(merged({}, values))
    settings = _full_keys({key: [value] for key, value in _values(fixed or {}).items()}, "set")
    cell = make.override(cell, {key: value for key, (value,) in settings.items()})
    _check_used(settings, [cell])
    return cell


def _values(fixed: Mapping[str, str]) -> dict[str, Any]:
    return {
        key: parse_yaml(text, f"set {printable(key)}: {printable(text)!r} is not a YAML value")
        for key, text in fixed.items()
    }


def _profile(file: SpaceFile, given: str, origin: str) -> str:
    """Return the profile of a space's cells: a resolved space has one already."""
    found = file.profile or RELEASE
    if not file.resolved or given == found:
        return given
    if given != RELEASE:
        raise ConfigError(
            f"--profile {printable(given)}: the values of {origin} are those of profile {found} "
            f"already; leave --profile out, or give it to the space that it was made of"
        )
    return found


def _chosen_grids(
    file: SpaceFile, methods: Sequence[str], seeds: Sequence[int], origin: str
) -> list[dict[str, list[Any]]]:
    """Return the axes of each grid of a file, with the methods and seeds that were asked for.

    A method that one of several grids has options for is that of these alone.
    """
    own_grids = file.grids or (file.grid or {},)
    written = [_full_keys(grid, f"{origin}: grid") for grid in own_grids]
    grids = [{key: values_of(key, value) for key, value in axes.items()} for axes in written]
    own = [grid.get("method", [{"name": "cross-entropy"}]) for grid in grids]
    named = {one.get("name") for entries in own for one in entries if isinstance(one, dict)}
    for grid, entries in zip(grids, own, strict=True):
        here = {one.get("name") for one in entries if isinstance(one, dict)}
        wanted = [name for name in methods if name not in named or name in here]
        grid.pop("method", None)  # it comes last
        if not methods or wanted:
            grid["method"] = _chosen_methods(entries, wanted)
        else:
            grid["method"] = []
        if seeds:
            grid["seed"] = list(seeds)
    return [grid for grid in grids if grid["method"]]


def _chosen_methods(entries: list[Any], names: Sequence[str]) -> list[Any]:
    """Return the space's method entries, or those that `--methods` names."""
    if not names:
        return entries
    if list(names) == ["all"]:
        names = list(METHOD_SECTIONS)
    chosen: list[Any] = []
    for name in names:
        if name not in METHOD_SECTIONS:
            raise ConfigError(
                f"--methods: unknown method {printable(name)!r}{nearest(name, METHOD_SECTIONS)}; "
                f"allowed are all, {', '.join(METHOD_SECTIONS)}"
            )
        own = [e for e in entries if isinstance(e, dict) and e.get("name") == name]
        chosen += own or [{"name": name}]
    return chosen


def _full_keys(axes: Mapping[str, list[Any]], origin: str) -> dict[str, list[Any]]:
    """Return the axes by their full keys, refusing one that is there twice by two names."""
    found: dict[str, list[Any]] = {}
    for key, values in axes.items():
        full = full_key(key, origin)
        if full in found:
            raise ConfigError(
                f"{origin}: {key!r} is given twice, since it is {full}; leave one out"
            )
        found[full] = values
    return found


def _check_size(grid: Mapping[str, Any], settings: Mapping[str, Any], origin: str) -> None:
    """Refuse more cells than anybody means, before the first is made."""
    axes = [*grid.items(), *settings.items()]
    sizes = {key: sum(_num_entries(value) for value in values) for key, values in axes}
    total = math.prod(sizes.values())
    if total > MAX_CELLS:
        words = ", ".join(
            f"{key} has {min(size, 10**9):,}" for key, size in sizes.items() if size > 1
        )
        raise ConfigError(
            f"{origin}: more than {MAX_CELLS:,} cells, which are allowed: {words}; shorten an axis"
        )


def _num_entries(value: Any) -> int:
    if not isinstance(value, dict):
        return 1
    return math.prod(len(item) for item in value.values() if isinstance(item, list))


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that is too long
        return False


def _points(axes: Mapping[str, list[Any]], origin: str) -> Iterator[dict[str, Any]]:
    """Yield the product of the axes; a list inside a mapping is an axis of that entry alone."""
    for key, values in axes.items():
        if not values:
            raise ConfigError(f"{origin}: {key} has no value, so the grid is empty; give it one")
    expanded = [
        [one for value in values for one in _entries(key, value)] for key, values in axes.items()
    ]
    for combination in itertools.product(*expanded):
        yield dict(zip(axes, combination, strict=True))


def _entries(section: str, value: Any) -> Iterator[Any]:
    if not isinstance(value, dict):
        yield value
        return
    lists = {key: values_of(f"{section}.{key}", item) for key, item in value.items()}
    for combination in itertools.product(*lists.values()):
        yield dict(zip(lists, combination, strict=True))


def _check_used(settings: Mapping[str, list[Any]], cells: Sequence[CellConfig]) -> None:
    """Refuse a method option that no chosen method has."""
    for key in settings:
        section, _, option = key.partition(".")
        option = option.partition(".")[0]
        if section == "method" and not any(option in type(c.method).model_fields for c in cells):
            names = ", ".join(sorted({c.method.name for c in cells}))
            raise ConfigError(f"--set {key}: none of the chosen methods ({names}) has this option")
