"""What travels to the head: curvetune's own source, the space, and the plugins; nothing else.

A folder is made for it, so that no result, no image and no virtual environment can be in it.
"""

import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

import curvetune
from curvetune.config.load import read_yaml
from curvetune.planning.space import Space, spaces_folder
from curvetune.plugins.code import Plugin, read_plugin
from curvetune.plugins.load import of_refs

NOT_SENT = ("__pycache__", "*.py[co]", ".*")
SPACES = "search_spaces"


@dataclass(frozen=True)
class Upload:
    """A folder that travels.

    Args:
        code: of the package curvetune.
        files: what the job's working directory is.
        space: the space's file in it.
        plugins: what `--plugin` is there.
    """

    code: Path
    files: Path
    space: str
    plugins: tuple[str, ...]


def needed_plugins(path: Path, given: Sequence[str], space: Space) -> list[Plugin]:
    """Return the plugins that a command names, its space names, or its cells use, each once.

    Raises:
        ConfigError: one cannot be read any more.
    """
    named = [read_plugin(name, None) for name in given]
    of_space: Iterable[str] = read_yaml(path).get("plugins") or ()
    named += [read_plugin(str(name), path.parent) for name in of_space]
    named += of_refs(ref for cell in space.cells for _, _, ref in cell.plugins)
    return list({plugin.ref.name: plugin for plugin in named}.values())


def pack(folder: Path, space: Path, plugins: Iterable[Plugin]) -> Upload:
    """Put all that a grid needs into an empty folder.

    Args:
        space: the file of the search space.
    """
    code, files = folder / "code" / "curvetune", folder / "files"
    package = Path(curvetune.__file__).parent
    shutil.copytree(package, code, ignore=shutil.ignore_patterns(*NOT_SENT))
    shutil.copytree(spaces_folder(), code / SPACES, dirs_exist_ok=True)
    _write(files / "spaces" / space.name, _without_plugins(space))
    return Upload(
        code, files, f"spaces/{space.name}", tuple(_put(files, plugin) for plugin in plugins)
    )


def _put(files: Path, plugin: Plugin) -> str:
    """Write a plugin's source; return how it is named there.

    The module of an installed package goes where a job looks for modules first.
    """
    below = files / "plugins" if plugin.is_file else files
    for name, content in plugin.files.items():
        _write(below / name, content)
    return f"plugins/{next(iter(plugin.files))}" if plugin.is_file else plugin.ref.name


def _without_plugins(space: Path) -> bytes:
    """Return a space without the files of its plugins, which are elsewhere there."""
    values = read_yaml(space)
    if not values.pop("plugins", None):
        return space.read_bytes()
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True).encode()


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
