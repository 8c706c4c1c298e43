"""Reading the config of a stored cell whose plugin is not here, or has been edited since.

What a storage says of such a cell can be told all the same: its tables, its state, its address.
Only running it needs the plugin.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import ConfigDict

from curvetune.config.cell import CellConfig
from curvetune.config.method import MethodConfig
from curvetune.config.plugins import PLUGINS, PluginRef


class ForeignMethodConfig(MethodConfig):
    """A method of a plugin that this process does not have; its options are kept as they are."""

    model_config = ConfigDict(extra="allow")

    source: ClassVar[str] = "a plugin that is not loaded"
    name: str


class ForeignCellConfig(CellConfig):
    """A cell whose method this process does not have."""

    method: ForeignMethodConfig  # type: ignore[assignment]


def read_config(values: Mapping[str, Any]) -> CellConfig:
    """Return the config that a storage holds.

    Raises:
        pydantic.ValidationError: it is no config, or of another version of curvetune.
    """
    method = values.get("method")
    if not isinstance(method, Mapping) or method.get("plugin") is None:
        return CellConfig.model_validate(values)
    if _is_loaded(str(method.get("name")), method["plugin"]):
        return CellConfig.model_validate(values)
    return ForeignCellConfig.model_validate(values)


def _is_loaded(name: str, ref: Any) -> bool:
    found = PLUGINS.methods.get(name)
    return found is not None and found.ref == PluginRef.model_validate(ref)
