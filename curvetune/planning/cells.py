"""Cells of raw values: as a space writes them, as a profile changes them, and with `--set`.

Thousands of cells share their sections, and to validate one takes most of the time of a plan. So
each different section is validated once. What sections must be together is checked of each cell.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from curvetune.config import CellConfig, Section
from curvetune.config.load import validate
from curvetune.config.plugins import check_loaded, check_stated
from curvetune.config.profiles import native_recipe, profiled
from curvetune.config.shared import PerSection, SharedSections


class CellMaker:
    """Makes the cells of one space, while the plugins that are loaded stay the same."""

    def __init__(self, origin: str, profile: str, *, resolved: bool = False) -> None:
        """Complain about values as those of `origin`.

        Args:
            profile: that changes the cells.
            resolved: its values are those that ran: a cell is as it is written.
        """
        self._origin, self._profile, self._resolved = origin, profile, resolved
        self._sections = SharedSections()
        self._texts = PerSection()

    def cell(self, raw: Mapping[str, Any]) -> CellConfig:
        """Return a cell as the space has it.

        Raises:
            ConfigError: a wrong key or value, or a plugin is not here.
        """
        if self._resolved:
            check_stated(raw.get("method"))
        try:
            cell = self._sections.cell(raw)
        except ValidationError:
            cell = validate(raw, CellConfig, self._origin)  # complains about what is written
        if not self._resolved:
            return self._profiled(cell)
        for kind, name, ref in cell.plugins:
            check_loaded(ref, kind, name)
        return cell

    def override(self, cell: CellConfig, values: Mapping[str, Any]) -> CellConfig:
        """Return `cell` with the values of `--set`; a method's option goes where it exists.

        Raises:
            ConfigError: a wrong value.
        """
        if not values:
            return cell
        touched = {key.partition(".")[0] for key in values}
        raw = {
            name: value.model_dump() if name in touched and isinstance(value, Section) else value
            for name, value in cell
        }
        try:
            return self._sections.cell(_overridden(raw, cell, values))
        except ValidationError:
            return validate(_overridden(cell.model_dump(), cell, values), CellConfig, "--set")

    def text(self, cell: CellConfig) -> tuple[str, ...]:
        """Return what two cells have in common exactly if they are the same as JSON."""
        return tuple(
            self._text(value) if isinstance(value, Section) else str(value) for _, value in cell
        )

    def _profiled(self, cell: CellConfig) -> CellConfig:
        changed = profiled(native_recipe(cell), self._profile)
        if changed is cell:
            return cell
        before = dict(cell)
        raw = {
            name: value if value is before[name] else value.model_dump() for name, value in changed
        }
        try:
            return self._sections.cell(raw)
        except ValidationError:
            return CellConfig.model_validate(changed.model_dump())

    def _text(self, section: Section) -> str:
        return self._texts.once(section.model_dump_json, "text", section)


def merged(base: Mapping[str, Any], point: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` with the values of `point` put at their dotted keys."""
    raw: dict[str, Any] = {
        key: dict(value) if isinstance(value, dict) else value for key, value in base.items()
    }
    for key, value in sorted(point.items()):  # `method` comes before `method.option`
        section, _, option = key.partition(".")
        before = raw.get(section, {})
        if option and isinstance(before, dict):
            raw[section] = merged(before, {option: value})
        elif not option:  # else what is no section stays, and is refused as such
            raw[section] = value
    return raw


def _overridden(raw: dict[str, Any], cell: CellConfig, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the raw values of `cell` with those of `--set`."""
    for key, value in values.items():
        section, _, option = key.partition(".")
        if section != "method":
            raw = merged(raw, {key: value})
            continue
        option, _, inner = option.partition(".")
        if option in type(cell.method).model_fields:
            before = raw["method"][option]
            value = {inner: value} if inner else value
            if isinstance(before, dict) and isinstance(value, dict):  # a section of its own
                value = {**before, **value}
            raw["method"] = {**raw["method"], option: value}
    return raw
