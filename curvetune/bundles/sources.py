"""The source of the plugins that a grid needs: what is read is never run."""

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from curvetune.bundles.layout import PLUGINS, is_member
from curvetune.config.plugins import PluginRef
from curvetune.errors import ConfigError
from curvetune.plugins.code import Plugin, read_plugin

SECTIONS = ("data", "model", "method")
KEYS = ("plugin", "transform_plugin")


def refs_of(cells: Iterable[Mapping[str, Any]]) -> list[PluginRef]:
    """Return the plugins that the cells of a grid's record are of."""
    found: dict[PluginRef, None] = {}
    for cell in cells:
        for section in SECTIONS:
            for key in KEYS:
                with contextlib.suppress(ValidationError):
                    found[PluginRef.model_validate(cell["config"][section].get(key))] = None
    return [*found]


def find_sources(
    refs: Sequence[PluginRef], given: Sequence[str], recorded: Iterable[str]
) -> tuple[dict[PluginRef, Plugin], list[PluginRef]]:
    """Return the source of each plugin that can be found, and the plugins that cannot.

    Args:
        given: what the user names.
        recorded: what the grid's commands named, which may be gone or edited since.

    Raises:
        ConfigError: one that the user names cannot be read, or is none of the grid's.
    """
    found: dict[PluginRef, Plugin] = {}
    for name in given:
        plugin = read_plugin(name, None)
        if plugin.ref not in refs:
            wanted = ", ".join(map(str, refs)) or "none"
            raise ConfigError(
                f"--plugin {name}: it is {plugin.ref}, and the grid needs {wanted}; give the "
                f"source that the cells were run with"
            )
        found[plugin.ref] = plugin
    for name in (*recorded, *(ref.name for ref in refs)):
        with contextlib.suppress(ConfigError):
            plugin = read_plugin(name, None)
            if plugin.ref in refs:
                found.setdefault(plugin.ref, plugin)
    return found, [ref for ref in refs if ref not in found]


def files_of(plugins: Iterable[Plugin]) -> dict[str, bytes]:
    """Return the files of plugins by their paths in a bundle.

    Raises:
        ConfigError: two plugins have different files of one name, or a file has an odd one.
    """
    found: dict[str, bytes] = {}
    for plugin in plugins:
        for name, content in plugin.files.items():
            path = f"{PLUGINS}/{name}"
            if not is_member(path) or found.setdefault(path, content) != content:
                raise ConfigError(
                    f"{plugin.ref}: a bundle has no place for its file {name!r}; allowed are "
                    f"names of letters, digits, '.', '_' and '-', each once: rename it"
                )
    return found


def named_in(made: Mapping[str, Any]) -> list[str]:
    """Return the plugins that a recorded command named, as they were typed."""
    options = made.get("options")
    found = options.get("plugins", ()) if isinstance(options, Mapping) else ()
    return [str(one) for one in found if Path(str(one)).name]
