"""Brings plugins in: from a file, from a module that is installed, or from what a driver sent.

A plugin's name is its file's, without `.py`, or its module's. Its version is what it declares,
`__version__ = "1"`. Its digest is that of its source. Nothing of a storage is ever run: a plugin is
what the user names, or what is installed with an entry point.
"""

import ast
import hashlib
import importlib
import importlib.metadata
import importlib.util
import linecache
import logging
import re
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

from curvetune.config.plugins import PLUGINS, PluginRef
from curvetune.errors import ConfigError, CurvetuneError, printable
from curvetune.plugins.blame import said, where

GROUPS = ("curvetune.methods", "curvetune.models", "curvetune.sources", "curvetune.transforms")
MAX_BYTES = 5_000_000  # of a plugin's source: it travels with every grid
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plugin:
    """A plugin with its source, as it travels to other processes.

    Args:
        module: what it is imported as.
        origin: the file or module as the user named it, for messages.
        files: the source of each file, by its path below what is put on the path; of a single
            file, its one name.
        is_file: whether it was given as a file, rather than as a module.
    """

    ref: PluginRef
    module: str
    origin: str
    files: Mapping[str, bytes]
    is_file: bool


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
    found = [_found(str(name), folder) for name in names]
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
    for group in GROUPS:
        for entry in importlib.metadata.entry_points(group=group):
            module = entry.module
            if module in _loaded or module in _broken:
                continue
            version = entry.dist.version if entry.dist is not None else None
            try:
                _activate(_module(module, version))
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
        plugin = _file(Path(path), path) if module == "__main__" else _module(module, None)
        _loaded[plugin.ref.name] = plugin
        return plugin.ref
    raise ConfigError(
        "a plugin needs a file, so that other processes can run it and its source is known; write "
        "it into one, in a notebook with %%writefile my_method.py, and give that with "
        "plugins=['my_method.py']"
    )


def _found(name: str, folder: Path | None) -> Plugin:
    if name.endswith(".py") or "/" in name or "\\" in name:
        return _file((folder or Path()) / Path(name).expanduser(), name)
    if not NAME.fullmatch(name):
        raise ConfigError(
            f"--plugin {printable(name)!r}: is neither a file that ends in .py nor the name of a "
            f"module; give one of these"
        )
    return _module(name, None)


def _file(path: Path, origin: str) -> Plugin:
    shown = printable(origin)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"--plugin {shown}: cannot be read ({error.strerror}); give a Python file"
        ) from None
    name = path.stem
    if not name.isidentifier():
        raise ConfigError(
            f"--plugin {shown}: a plugin is named like its file; allowed are letters, digits and "
            f"'_': rename the file"
        )
    ref = PluginRef(name=name, version=_version(content, path, None), digest=_digest({"": content}))
    return Plugin(ref, f"curvetune_plugin_{name}", str(path), {path.name: content}, is_file=True)


def _module(name: str, version: str | None) -> Plugin:
    """Return an installed module with its source: one file, or the whole package that it is in."""
    top = name.partition(".")[0]
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        spec = None
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        raise ConfigError(
            f"--plugin {printable(name)}: there is no such module; install its package, or give a "
            f"file that ends in .py"
        )
    root = Path(spec.origin)
    if spec.submodule_search_locations is None:
        files = {root.name: root.read_bytes()}
    else:
        below = sorted(root.parent.rglob("*.py"))
        files = {str(path.relative_to(root.parent.parent)): path.read_bytes() for path in below}
    if (size := sum(map(len, files.values()))) > MAX_BYTES:
        raise ConfigError(
            f"--plugin {name}: its package has {size:,} bytes of source, which travel to every "
            f"worker; allowed are {MAX_BYTES:,}: put the plugin into a package of its own"
        )
    declared = _version(root.read_bytes(), root, version)
    ref = PluginRef(name=name, version=declared, digest=_digest(files))
    return Plugin(ref, name, name, files, is_file=False)


def _digest(files: Mapping[str, bytes]) -> str:
    digest = hashlib.sha256()
    for name, content in sorted(files.items()):
        digest.update(f"{name}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()[:16]


def _version(content: bytes, path: Path, default: str | None) -> str:
    """Return what a file says is its `__version__`, without running it.

    Raises:
        ConfigError: it is not Python, or declares none.
    """
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError) as error:
        line, said = "", printable(error)
        if isinstance(error, SyntaxError):
            line, said = f", line {error.lineno}" if error.lineno else "", printable(error.msg)
        raise ConfigError(
            f"--plugin {printable(path)}{line}: is not Python ({said}); mend the file"
        ) from None
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else []
        if any(isinstance(t, ast.Name) and t.id == "__version__" for t in targets):
            value = node.value  # type: ignore[attr-defined]
            if isinstance(value, ast.Constant) and isinstance(value.value, str) and value.value:
                return value.value
    if default is not None:
        return default
    raise ConfigError(
        f"--plugin {printable(path)}: has no version; declare one at its top, for instance "
        f'__version__ = "1": it is part of the address of its results'
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
            _run_file(plugin) if plugin.is_file else _import(plugin)
    except CurvetuneError as error:
        _forget(name)
        raise ConfigError(f"--plugin {printable(plugin.origin)}: {error}") from error
    except (Exception, SystemExit) as error:
        _forget(name)
        raise ConfigError(
            f"--plugin {printable(plugin.origin)}: cannot be imported: {where(plugin, error)}; "
            f"mend that line, or install what it needs"
        ) from error
    finally:
        _loading.pop()
    _loaded[name] = plugin
    return plugin


def _forget(name: str) -> None:
    """Take back what a plugin of that name has registered."""
    from curvetune.config.cell import remove_method

    for kind in ("methods", "models", "sources", "transforms"):
        table = getattr(PLUGINS, kind)
        for key in [key for key, found in table.items() if found.ref.name == name]:
            del table[key]
            if kind == "methods":
                remove_method(key)
    _loaded.pop(name, None)


def _run_file(plugin: Plugin) -> None:
    ((_, content),) = plugin.files.items()
    module = ModuleType(plugin.module)
    module.__file__ = plugin.origin
    module.__spec__ = ModuleSpec(plugin.module, None, origin=plugin.origin)
    text = content.decode("utf-8", "replace")
    # so that tracebacks and `inspect` have its lines, also where the file is not
    lines = text.splitlines(keepends=True)
    linecache.cache[plugin.origin] = (len(content), None, lines, plugin.origin)
    sys.modules[plugin.module] = module  # pickles name it
    exec(compile(content, plugin.origin, "exec"), module.__dict__)


def _import(plugin: Plugin) -> None:
    top = plugin.module.partition(".")[0]
    for name in [n for n in sys.modules if n == top or n.startswith(f"{top}.")]:
        del sys.modules[name]  # of older source, or loaded before what it registers was known
    with _on_path(plugin):
        importlib.import_module(plugin.module)


@contextmanager
def _on_path(plugin: Plugin) -> Iterator[None]:
    """Let a module's files be found: those that are installed here, if they are the same."""
    try:
        same = _module(plugin.module, plugin.ref.version).files == plugin.files
    except ConfigError:
        same = False
    if same:
        yield
        return
    with tempfile.TemporaryDirectory(prefix="curvetune-plugin-") as folder:
        for name, content in plugin.files.items():
            path = Path(folder) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        sys.path.insert(0, folder)
        importlib.invalidate_caches()
        try:
            yield
        finally:
            sys.path.remove(folder)
