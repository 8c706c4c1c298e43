"""What every section of the config has in common."""

import functools
from collections.abc import Iterator
from typing import Any, ClassVar, get_args

from pydantic import BaseModel, ConfigDict, model_validator


class Section(BaseModel):
    """Base of all sections: frozen, and a key that it does not know is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    # Options added after the first release. At their default they do not enter the identity, so
    # what was stored before they existed stays valid.
    later: ClassVar[frozenset[str]] = frozenset()
    # Of these, what was done before they existed, where that is not the default. It is then this
    # value that does not enter, and what a stored config without the option means.
    earlier: ClassVar[dict[str, Any]] = {}

    @model_validator(mode="before")
    @classmethod
    def _true_is_no_number(cls, values: Any) -> Any:
        # pydantic takes it for 1, and YAML's `on` and `yes` are true
        if isinstance(values, dict):
            for key, value in values.items():
                if _has_bool(value) and key in _numbers(cls):
                    raise ValueError(f"{key}={value!r}; allowed are numbers")
        return values

    def identity(self) -> dict[str, Any]:
        """Return what decides the numbers, as plain JSON."""
        fields = type(self).model_fields
        before = {name: fields[name].default for name in self.later} | self.earlier
        same = {name for name, value in before.items() if getattr(self, name) == value}
        return self.model_dump(mode="json", exclude=same)


def _has_bool(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return any(isinstance(part, bool) for part in value)
    return isinstance(value, bool)


@functools.cache  # of each section; thousands of cells ask
def _numbers(section: type[Section]) -> frozenset[str]:
    """Return the options of a section that take numbers."""
    fields = section.model_fields.items()
    return frozenset(name for name, field in fields if {int, float} & {*_parts(field.annotation)})


def _parts(annotation: Any) -> Iterator[Any]:
    yield annotation
    for part in get_args(annotation):
        yield from _parts(part)
