"""The source of a plugin: from a file, or from an installed module, with its name and version.

A plugin's name is its file's, without `.py`, or its module's. Its version is what it declares,
`__version__ = "1"`. Its digest is that of its source, which also travels to other processes.
"""

import ast
import hashlib
import importlib.util
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from curvetune.config.plugins import PluginRef
from curvetune.errors import ConfigError, printable

MAX_BYTES = 5_000_000  # of a plugin's source: it travels with every grid
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*")


@dataclass(frozen=True)
class Plugin:
    """A plugin with its source, as it travels to other processes.

    Args:
        module: what it is imported as.
        origin: the file or module as the user named it, for messages.
        root: the folder that its files were below.
        files: the source of each file, by its path below `root`.
        is_file: whether it was given as a file, rather than as a module.
    """

    ref: PluginRef
    module: str
    origin: str
    root: str
    files: Mapping[str, bytes]
    is_file: bool


def read_plugin(name: str, folder: Path | None) -> Plugin:
    """Return a plugin by what the user calls it: a FILE.py, or the name of a module.

    Args:
        folder: that the path of a file is below, if it is not absolute; else the working directory.

    Raises:
        ConfigError: it cannot be read, is not Python, or has no version.
    """
    if name.endswith(".py") or "/" in name or "\\" in name:
        return file_plugin((folder or Path()) / Path(name).expanduser(), name)
    if not NAME.fullmatch(name):
        raise ConfigError(
            f"--plugin {printable(name)!r}: is neither a file that ends in .py nor the name of a "
            f"module; give one of these"
        )
    return module_plugin(name)


def file_plugin(path: Path, origin: str) -> Plugin:
    """Return the plugin that a file is; `origin` is how the user names it.

    Raises:
        ConfigError: as `read_plugin`.
    """
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
    module, root = f"curvetune_plugin_{name}", str(path.parent.absolute())
    return Plugin(ref, module, str(path), root, {path.name: content}, is_file=True)


def module_plugin(name: str, version: str | None = None) -> Plugin:
    """Return an installed module with its source: one file, or the whole package that it is in.

    Args:
        version: of its distribution, where it declares none itself.

    Raises:
        ConfigError: as `read_plugin`.
    """
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
    first = Path(spec.origin)
    if spec.submodule_search_locations is None:
        root, paths = first.parent, [first]
    else:
        root, paths = first.parent.parent, sorted(first.parent.rglob("*.py"))
    files = {path.relative_to(root).as_posix(): path.read_bytes() for path in paths}
    if (size := sum(map(len, files.values()))) > MAX_BYTES:
        raise ConfigError(
            f"--plugin {name}: its package has {size:,} bytes of source, which travel to every "
            f"worker; allowed are {MAX_BYTES:,}: put the plugin into a package of its own"
        )
    declared = _version(files[first.relative_to(root).as_posix()], first, version)
    ref = PluginRef(name=name, version=declared, digest=_digest(files))
    return Plugin(ref, name, name, str(root), files, is_file=False)


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
