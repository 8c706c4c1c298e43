"""What plugins have registered in this process: methods, networks, sources and transforms.

The tables are here, below everything that looks into them, and hold plain objects: nothing is
imported for them. `curvetune.plugins` fills them, and brings them to other processes.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Protocol

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import PydanticKnownError

from curvetune.errors import ConfigError


class PluginRef(BaseModel):
    """Which plugin something comes from; it is part of the identity of the cells that use it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(min_length=1, max_length=100)]
    version: Annotated[str, Field(min_length=1, max_length=64)]  # that its author declares
    digest: Annotated[str, Field(pattern="^[0-9a-f]{16}$")]  # of its source, SHA-256

    def __str__(self) -> str:
        return f"plugin {self.name} {self.version} (source {self.digest})"


class HasRef(Protocol):
    """What a plugin has registered."""

    @property
    def ref(self) -> PluginRef: ...


@dataclass(frozen=True)
class Registered:
    """A method, a network or a source of images of a plugin.

    Args:
        made_by: its builder; of a source, the source.
    """

    ref: PluginRef
    made_by: Any


@dataclass(frozen=True)
class Transform:
    """An augmentation of a plugin.

    Args:
        apply: images (B, C, H, W), float32 from 0 to 255, and numbers (B, `draws`), uniform from
            0 to 1, to images of the same shape.
        draws: how many random numbers it takes for a sample.
    """

    ref: PluginRef
    apply: Callable[[Any, Any], Any]
    draws: int = 0


@dataclass
class Registry:
    """All that plugins have registered, by kind and name."""

    methods: dict[str, Registered] = field(default_factory=dict)
    models: dict[str, Registered] = field(default_factory=dict)
    sources: dict[str, Registered] = field(default_factory=dict)
    transforms: dict[str, Transform] = field(default_factory=dict)

    KINDS: ClassVar[dict[str, str]] = {
        "methods": "method",
        "models": "network",
        "sources": "source of images",
        "transforms": "transform",
    }

    def names_of(self, ref: PluginRef) -> list[tuple[str, str]]:
        """Return the kind and the name of each thing that a plugin has registered."""
        return [
            (word, name)
            for kind, word in self.KINDS.items()
            for name, found in getattr(self, kind).items()
            if found.ref == ref
        ]


PLUGINS = Registry()

# A field that is left out of JSON where nothing comes from a plugin, as before there were any.
OptionalRef = Annotated[PluginRef | None, Field(exclude_if=lambda value: value is None)]


def named(values: Any, table: Mapping[str, HasRef], key: str = "name", ref: str = "plugin") -> Any:
    """Return raw values of a section with the plugin that `values[key]` comes from.

    A config that is read from the storage has one already, which stays: it may be of older source.
    """
    if isinstance(values, Mapping) and ref not in values:
        found = table.get(str(values.get(key)))
        if found is not None:
            return {**values, ref: found.ref}
    return values


def check_name(
    name: str, own: Iterable[str], table: Mapping[str, object], plugin: PluginRef | None
) -> str:
    """Return a name that is known, or that says which plugin it is of.

    Raises:
        PydanticKnownError: it is neither.
    """
    allowed = [*own, *table]
    if name in allowed or plugin is not None:
        return name
    words = " or ".join(
        part for part in (", ".join(map(repr, allowed[:-1])), repr(allowed[-1])) if part
    )
    raise PydanticKnownError("literal_error", {"expected": words})


def check_stated(method: Any) -> None:
    """Refuse a raw section of a method that says which plugin it is of, if that is not loaded.

    Raises:
        ConfigError: as `check_loaded` says it; else nothing would be known but the name.
    """
    if not isinstance(method, Mapping) or method.get("plugin") is None:
        return
    try:
        ref = PluginRef.model_validate(method["plugin"])
    except ValidationError:  # whoever reads the section says so
        return
    check_loaded(ref, "methods", str(method.get("name")))


def check_loaded(wanted: PluginRef, kind: str, name: str) -> None:
    """Refuse to run what this process does not have, or has from other source.

    Args:
        kind: a table of the registry, such as "methods".

    Raises:
        ConfigError: the plugin is not loaded, or it is not the same.
    """
    word = Registry.KINDS[kind]
    found = getattr(PLUGINS, kind).get(name)
    if found is None:
        raise ConfigError(
            f"the {word} {name!r} is of {wanted}, which is not loaded here; give the plugin with "
            f"--plugin FILE.py (or plugins=[…] in Python)"
        )
    if found.ref != wanted:
        raise ConfigError(
            f"the {word} {name!r} was to be that of {wanted}, and here it is of {found.ref}: the "
            f"plugin was edited since; run the grid's own command again, which runs it as it is now"
        )
