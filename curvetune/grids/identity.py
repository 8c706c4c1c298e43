"""What decides a cell's numbers, key by key, and in which keys two cells differ.

The keys are those of a config, and together they say what `CellConfig.cell_identity` says: two
cells have the same address if and only if they agree in all of them.
"""

import json
from typing import Any

from curvetune.config import (
    CELL_VERSION,
    SPLIT_VERSION,
    BiasConfig,
    CellConfig,
    Section,
    read_config,
)
from curvetune.grids.labels import flatten

Keys = dict[str, Any]
# What has no default, or none that anybody chose.
CHOSEN = frozenset({"data.name", "data.digest", "method.name", "version.split", "version.cell"})


def deciding_keys(config: CellConfig, digest: str) -> Keys:
    """Return what decides the numbers of a cell on the data with this content digest."""
    sections: dict[str, Any] = {
        "data": config.data.model_dump(mode="json", exclude={"residence"}) | {"digest": digest},
        "bias": config.bias.identity(),
        "seed": config.seed,
        "model": _options(config.model),
        "probe": {} if config.probe_recipe is None else _options(config.probe_recipe),
        "allocate": _options(config.allocate),
        "method": {"name": config.method.name} | _options(config.method),
        "version": {"split": SPLIT_VERSION, "cell": CELL_VERSION},
    }
    return dict(flatten(sections))


def default_keys(config: CellConfig, digest: str) -> frozenset[str]:
    """Return the keys in which a cell is as it would be if only data and method were named."""
    named = {
        "data": {"name": config.data.name, "plugin": _ref(config.data)},
        "bias": {"noise_rate": config.bias.noise_rate},  # at 0 the kind of noise is left out
        "method": {"name": config.method.name, "plugin": _ref(config.method)},
    }
    default = deciding_keys(read_config(named), digest)
    default["bias.noise_rate"] = BiasConfig().noise_rate
    keys = deciding_keys(config, digest)
    return frozenset(
        key for key in keys.keys() & default if keys[key] == default[key] and key not in CHOSEN
    )


def differing_keys(these: Keys, those: Keys) -> list[str]:
    """Return the keys in which two cells differ, among them those that only one of them has."""
    return [
        key
        for key in {**these, **those}
        if key not in these or key not in those or these[key] != those[key]
    ]


def of_source(keys: list[str]) -> bool:
    """Say whether keys in which two cells differ are about the source of a plugin alone."""
    return bool(keys) and all(key.endswith(("plugin.digest", "plugin.version")) for key in keys)


def value_text(value: Any) -> str:
    """Return a value as `--set` takes it."""
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def _options(section: Section) -> Keys:
    """Return the identity of a section with those options that it leaves out of it."""
    values, identity = section.model_dump(mode="json"), section.identity()
    left_out = sorted((section.later & values.keys()) - identity.keys())
    return identity | {name: values[name] for name in left_out}


def _ref(section: Any) -> Any:
    return None if section.plugin is None else section.plugin.model_dump(mode="json")
