"""Brings plugins in: from a file, from a module that is installed, or from what a driver sent.

Nothing of a storage is ever run: a plugin is what the user names, or what is installed with an
entry point.
"""

import importlib.metadata
import logging
import sys
from collections.abc import Iterable
from contextlib import redirect_stdout
from pathlib import Path

from curvetune.config.plugins import PLUGINS, PluginRef, Registry
from curvetune.errors import ConfigError, CurvetuneError, printable
from curvetune.plugins.blame import said, where
from curvetune.plugins.code import Plugin, file_plugin, module_plugin, read_plugin
from curvetune.plugins.finder import forget_modules, import_plugin

GROUPS = ("curvetune.methods", "curvetune.models", "curvetune.sources", "curvetune.transforms")

logger = logging.getLogger(__name__)


_loaded: dict[str, Plugin] = {}  # by name
_loading: list[Plugin] = []
_broken: dict[str, str] = {}  # entry points that could not be imported, and why


def load_plugins(
    names: Iterable[str], folder: Path | None = None, *, beside: Iterable[Plugin] = ()
) -> list[Plugin]:
    """Import plugins, each a FILE.py or the name of a module, and return them.

    Args:
        folder: that the path of a file is below, if it is not absolute; else the working directory.
        beside: what the same command has named elsewhere.

    Raises:
        ConfigError: one cannot be read or imported, has no version, or registers what is taken; or
            two have one name.
    """
    found = [read_plugin(str(name), folder) for name in names]
    _check_one_of_each_name([*beside, *found])
    return [_activate(plugin) for plugin in found]


def _check_one_of_each_name(plugins: Iterable[Plugin]) -> None:
    """Refuse a plugin that would take the place of another one, which was asked for too."""
    first: dict[str, Plugin] = {}
    for plugin in plugins:
        other = first.setdefault(plugin.ref.name, plugin)
        if other.ref != plugin.ref:
            raise ConfigError(
                f"--plugin {printable(plugin.origin)}: another plugin is named {plugin.ref.name} "
                f"too, {printable(other.origin)}; a plugin is named like its file: rename one of "
                f"the files"
            )


def load_installed() -> None:
    """Import the plugins that installed packages name in the entry-point groups of curvetune.

    One that cannot be imported is told, and costs only what needs it.
    """
    every = importlib.metadata.entry_points()  # once: it opens a file of each installed package
    for group in GROUPS:
        for entry in every.select(group=group):
            module = entry.module
            if module in _loaded or module in _broken:
                continue
            version = entry.dist.version if entry.dist is not None else None
            try:
                _activate(module_plugin(module, version))
            except CurvetuneError as error:
                _broken[module] = str(error)
                logger.warning("the installed plugin %s is left out: %s", module, error)


def activate(plugins: Iterable[Plugin]) -> None:
    """Import plugins that another process sent, unless this one has them.

    Raises:
        ConfigError: one cannot be imported here.
    """
    for plugin in plugins:
        _activate(plugin)


def loaded() -> list[Plugin]:
    """Return the plugins of this process."""
    return list(_loaded.values())


def broken() -> dict[str, str]:
    """Return the installed plugins that could not be imported, and why."""
    return dict(_broken)


def of_refs(refs: Iterable[PluginRef]) -> list[Plugin]:
    """Return the loaded plugins among these, each once.

    Raises:
        ConfigError: one is not loaded, or from other source.
    """
    found: dict[str, Plugin] = {}
    for ref in refs:
        plugin = _loaded.get(ref.name)
        if plugin is None or plugin.ref != ref:
            raise ConfigError(f"{ref} is not loaded here; give it with --plugin FILE.py")
        found[ref.name] = plugin
    return list(found.values())


def blame(ref: PluginRef, error: BaseException) -> str:
    """Return what failed, in one line, and in which line of a plugin if it is loaded here."""
    plugin = _loaded.get(ref.name)
    return where(plugin, error) if plugin is not None else said(error)


def plugin_of_module(module: str) -> PluginRef:
    """Return the plugin that is being loaded, or that a module which is being run makes up.

    Raises:
        ConfigError: the module has no file, as in a notebook.
    """
    if _loading:
        return _loading[-1].ref
    path = getattr(sys.modules.get(module), "__file__", None)
    if path is not None:
        plugin = file_plugin(Path(path), path) if module == "__main__" else module_plugin(module)
        _loaded[plugin.ref.name] = plugin
        return plugin.ref
    raise ConfigError(
        "a plugin needs a file, so that other processes can run it and its source is known; write "
        "it into one, in a notebook with %%writefile my_method.py, and give that with "
        "plugins=['my_method.py']"
    )


def _activate(plugin: Plugin) -> Plugin:
    """Import a plugin unless this process has it; what older source registered is replaced."""
    name = plugin.ref.name
    if name in _loaded and _loaded[name].ref == plugin.ref:
        return _loaded[name]
    _forget(name)
    _loading.append(plugin)
    try:
        with redirect_stdout(sys.stderr):  # stdout is for the command's own result
            import_plugin(plugin)
    except CurvetuneError as error:
        _forget(name, plugin)
        raise ConfigError(f"--plugin {printable(plugin.origin)}: {error}") from error
    except (Exception, SystemExit) as error:
        _forget(name, plugin)
        raise ConfigError(
            f"--plugin {printable(plugin.origin)}: cannot be imported: {where(plugin, error)}; "
            f"mend that line, or install what it needs"
        ) from error
    finally:
        _loading.pop()
    _loaded[name] = plugin
    return plugin


def _forget(name: str, failed: Plugin | None = None) -> None:
    """Take back what a plugin of that name has registered and imported, also where it failed."""
    from curvetune.config.cell import remove_method

    for kind in Registry.KINDS:
        table = getattr(PLUGINS, kind)
        for key in [key for key, found in table.items() if found.ref.name == name]:
            del table[key]
            if kind == "methods":
                remove_method(key)
    plugin = _loaded.pop(name, failed)
    if plugin is not None:
        forget_modules(plugin)
