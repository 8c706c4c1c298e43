"""What a grid was made of, and the space that makes it again: `curvetune show GRID > again.yaml`.

The space is made of the cells' own configs, which are complete. So it does not matter whether a
built-in space, a file that is gone, `--set`, a profile or corrected labels made them.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

import curvetune
from curvetune.config.fingerprint import GRID_NAME
from curvetune.config.profiles import RELEASE
from curvetune.errors import printable
from curvetune.planning.recorded import profile_of, typed
from curvetune.planning.selection import Selection
from curvetune.planning.space import Space, find_space
from curvetune.system.redact import redact
from curvetune.system.source_code import DIRTY, this_code

Row = Mapping[str, str]  # of a cell: each dotted key with its value as JSON
Block = dict[str, tuple[str, ...]]  # some rows: the values of each key, whose product they are
WIDTH = 88
LONGEST = 2000  # characters of a line of a comment
METHOD = "method"


def made_of(
    space: Space, data_dir: Path | None, on_bad: str, selection: Selection | None = None
) -> dict[str, Any]:
    """Return what a grid is made of beside its cells, as the storage keeps it; without secrets.

    Args:
        selection: what was asked for, if it was a search space.
    """
    code = this_code()
    refs = {(kind, name, ref) for cell in space.cells for kind, name, ref in cell.plugins}
    made = {
        "profile": space.profile,
        "data_dir": None if data_dir is None else str(Path(data_dir).absolute()),
        "on_bad": on_bad,
        **({} if selection is None else _asked(selection)),
        "code": {
            "curvetune": curvetune.__version__,
            "commit": None if code.commit is None else code.commit.removesuffix(DIRTY),
            "dirty": code.is_dirty,
            "source": code.source,
        },
        "plugins": [
            {"kind": kind, "name": name, **ref.model_dump(mode="json")}
            for kind, name, ref in sorted(refs, key=str)
        ],
    }
    cleaned: dict[str, Any] = _without_secrets(made)
    return cleaned


def _asked(selection: Selection) -> dict[str, Any]:
    """Return the options of a command, and its space as the file has it."""
    options = {
        "space": selection.space,
        "methods": list(selection.methods),
        "seeds": list(selection.seeds),
        "set": dict(selection.fixed),
        "plugins": list(selection.plugins),
    }
    text = find_space(selection.space).read_text(encoding="utf-8-sig")
    return {"options": options, "space": text}


def again(grid: Mapping[str, Any]) -> str:
    """Return the space of a grid as YAML, with all that it needs to find its results again.

    Args:
        grid: its record, as the storage has it.
    """
    made = grid["made"] if isinstance(grid.get("made"), Mapping) else {}
    data_dir = made.get("data_dir") or typed(grid, "--data-dir")
    on_bad = made.get("on_bad") or typed(grid, "--on-bad")
    rows = [_row(cell["config"]) for cell in grid["cells"]]
    common, blocks = _covered(rows)
    head: dict[str, Any] = {"name": _name(str(grid["name"])), "resolved": True}
    if (profile := profile_of(grid)) != RELEASE:
        head["profile"] = profile
    if data_dir:
        head["data_dir"] = str(data_dir)
    if on_bad and on_bad != "fail":
        head["on_bad"] = str(on_bad)
    axes = [_axes(block) for block in blocks]
    body = {"base": _nested(common), **({"grid": axes[0]} if len(axes) == 1 else {"grids": axes})}
    comments = "".join(f"# {line}\n" for line in _story(grid, made))
    return redact(comments + _yaml(head, flow=False) + _yaml(body))


def needed_plugins(grid: Mapping[str, Any]) -> list[str]:
    """Return the plugins that the cells of a grid are of, each as a person is told of it."""
    found: dict[str, None] = {}
    for cell in grid["cells"]:
        config = cell["config"]
        for section in ("data", "model", METHOD):
            for key in ("plugin", "transform_plugin"):
                ref = config[section].get(key)
                if isinstance(ref, Mapping):
                    words = (printable(ref.get(k)) for k in ("name", "version", "digest"))
                    found["{} {} (source {})".format(*words)] = None
    return [*found]


def _story(grid: Mapping[str, Any], made: Mapping[str, Any]) -> list[str]:
    """Return what a reader of the file should know, a line each."""
    cells = len(grid["cells"])
    lines = [
        f"{printable(grid['name'])}: {cells} cells, as they ran. `curvetune grid` on this file"
    ]
    lines += ["finds their results again; nothing is taken from defaults, profiles or other files."]
    lines += [f"run by: {printable(grid.get('command', ''), LONGEST)}"]
    lines += [f"data: {printable(grid.get('data_digest', ''))}"]
    code = made.get("code")
    if isinstance(code, Mapping):
        commit = f", commit {printable(code['commit'])}" if code.get("commit") else ""
        changed = " with uncommitted changes" if code.get("dirty") else ""
        lines += [f"code: curvetune {printable(code.get('curvetune'))}{commit}{changed}"]
    for plugin in needed_plugins(grid):
        lines += [f"it needs the plugin {plugin}: give it with --plugin FILE.py"]
    return lines


def _name(name: str) -> str:
    """Return what the grid is called in the file: NAME@last is of the grid NAME."""
    base = name.partition("@")[0]
    return base if GRID_NAME.fullmatch(base) else "again"


def _row(config: Mapping[str, Any]) -> Row:
    row: dict[str, str] = {}
    for section, value in config.items():
        if section == METHOD or not isinstance(value, Mapping):
            row[section] = json.dumps(value, sort_keys=True)
        else:
            row |= {f"{section}.{k}": json.dumps(v, sort_keys=True) for k, v in value.items()}
    return row


def _covered(rows: Sequence[Row]) -> tuple[Row, list[Block]]:
    """Return what all rows have in common, and products that together are exactly these rows.

    A key that only some rows have is never in common, and rows that lack it are other products.
    """
    keys = [*dict.fromkeys(key for row in rows for key in row)]
    common = {
        key: rows[0][key]
        for key in keys
        if key not in ("seed", METHOD) and all(row.get(key) == rows[0].get(key) for row in rows)
    }
    blocks: list[Block] = [
        {key: (value,) for key, value in row.items() if key not in common} for row in rows
    ]
    for key in (k for k in reversed(keys) if k not in common):
        blocks = _joined(blocks, key)
    return common, blocks


def _joined(blocks: Iterable[Block], key: str) -> list[Block]:
    """Return the blocks, those put together that differ in the values of one key alone."""
    groups: dict[tuple[Any, ...], Block] = {}
    for block in blocks:
        rest = tuple(sorted((k, v) for k, v in block.items() if k != key))
        known = groups.setdefault((key in block, rest), block)
        if known is not block:
            values = dict.fromkeys((*known[key], *block[key])) if key in block else ()
            groups[(key in block, rest)] = {**known, **({key: tuple(values)} if values else {})}
    return [*groups.values()]


def _axes(block: Block) -> dict[str, list[Any]]:
    """Return a block as a space writes it; `seed` and `method` come last."""
    order = sorted(block, key=lambda key: (key == METHOD, key == "seed"))
    return {key: [_literal(json.loads(value)) for value in block[key]] for key in order}


def _literal(value: Any) -> Any:
    """Return a value of an axis that stays one: a list in a mapping would be an axis of its own."""
    if not isinstance(value, Mapping):
        return value
    return {k: [v] if isinstance(v, list) else v for k, v in value.items()}


def _nested(row: Row) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, text in row.items():
        section, _, option = key.partition(".")
        if option:
            found.setdefault(section, {})[option] = json.loads(text)
        else:
            found[section] = json.loads(text)
    return found


def _yaml(content: Mapping[str, Any], *, flow: bool | None = None) -> str:
    text: str = yaml.safe_dump(
        dict(content), sort_keys=False, default_flow_style=flow, width=WIDTH, allow_unicode=True
    )
    return text


def _without_secrets(value: Any) -> Any:
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, Mapping):
        return {key: _without_secrets(one) for key, one in value.items()}
    return [_without_secrets(one) for one in value] if isinstance(value, list) else value
