"""Imports a plugin out of its source as it was read."""

import importlib
import linecache
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

from curvetune.plugins.code import Plugin


def import_plugin(plugin: Plugin) -> None:
    """Import a plugin; what runs is what its digest is of, in place of what was imported before."""
    forget_modules(plugin)
    # it stays: a function of the plugin may import another of its modules when it is called
    sys.meta_path.insert(0, Finder(plugin))
    importlib.import_module(plugin.module)


def forget_modules(plugin: Plugin) -> None:
    """Let a later import of the plugin's modules run them again."""
    sys.meta_path[:] = [f for f in sys.meta_path if not (isinstance(f, Finder) and f.is_of(plugin))]
    top = plugin.module.partition(".")[0]
    for name in [n for n in sys.modules if n == top or n.startswith(f"{top}.")]:
        del sys.modules[name]


class Finder(MetaPathFinder, Loader):
    """Finds the modules of a plugin in its source, and not on the disk.

    There they may have changed meanwhile; an edit within a second, of the same length, is not
    seen by Python's cache of bytecode; and on another machine they need not be.
    """

    def __init__(self, plugin: Plugin) -> None:
        self._plugin = plugin

    def is_of(self, plugin: Plugin) -> bool:
        """Say whether it finds the modules of that plugin, of this source or another."""
        return self._plugin.module == plugin.module

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return where a module of the plugin is; None if it is none of it."""
        stem = fullname.replace(".", "/")
        if fullname == self._plugin.module and self._plugin.is_file:
            (file,) = self._plugin.files
            return self._spec(fullname, file, folder=None)
        for file, folder in ((f"{stem}/__init__.py", stem), (f"{stem}.py", None)):
            if file in self._plugin.files:
                return self._spec(fullname, file, folder)
        if any(file.startswith(f"{stem}/") for file in self._plugin.files):  # without __init__.py
            spec = ModuleSpec(fullname, None, is_package=True)
            spec.submodule_search_locations = [str(Path(self._plugin.root) / stem)]
            return spec
        return None

    def exec_module(self, module: ModuleType) -> None:
        """Run a module."""
        assert module.__spec__ is not None, "find_spec has made it"
        place, file = str(module.__spec__.origin), str(module.__spec__.loader_state)
        content = self._plugin.files[file]
        module.__file__ = place
        # so that tracebacks and `inspect` have its lines, also where the file is not
        lines = content.decode("utf-8", "replace").splitlines(keepends=True)
        linecache.cache[place] = (len(content), None, lines, place)
        exec(compile(content, place, "exec"), module.__dict__)

    def _spec(self, name: str, file: str, folder: str | None) -> ModuleSpec:
        place = str(Path(self._plugin.root) / file)
        spec = ModuleSpec(
            name, self, origin=place, loader_state=file, is_package=folder is not None
        )
        if folder is not None:  # data files beside the modules are found where they are
            spec.submodule_search_locations = [str(Path(self._plugin.root) / folder)]
        return spec
