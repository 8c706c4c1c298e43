"""What each command for a grid has run, so that a narrower one makes the grid no smaller.

    grids/<name>.json               the grid: the cells of all commands that are of it, in the order
                                    in which they came, and which of them the newest command had
    grids/commands/<name>/<id>.json what one command had; its id is of its cells

Nothing is ever taken out of a record, and two drivers write two records. So whoever reads a grid
whose file does not know of a record, since two wrote that file at once, puts them together anew.

Two commands are of the same grid if their data is the same, and any two of their cells have the
same data options, classifier, probe and final training. What is swept may differ: methods, seeds,
bias settings, more values of an axis. A method that decides its final training itself has none to
compare: alone it is of the newest grid with its data, classifier and probe. Other data, or another
base, is another grid under the same name. It is told apart: the name means the grid of the newest
command, NAME@ID an earlier one, and NAME@last the cells of the newest command alone.
"""

import contextlib
import functools
import itertools
import json
import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from pydantic import ValidationError

from curvetune.config import read_config
from curvetune.config.fingerprint import fingerprint
from curvetune.errors import ConfigError, CorruptError
from curvetune.store.files import ID, read_json, write_json
from curvetune.store.names import command_file, commands_folder
from curvetune.store.plain import check_inside
from curvetune.store.records import checked_grid

Record: TypeAlias = dict[str, Any]
Frame: TypeAlias = tuple[str, str, str, str]  # data, model, probe, allocate
Group: TypeAlias = tuple[list[str], str, frozenset[Frame]]  # records, their data and frames
LAST = "last"
SHOWN = 6  # digits of an id that tell grids of one name apart
NATIVE = "native"  # in place of a final training that the method itself decides
DERIVED = ("last", "commands", "newest", "profiles", "others")  # of a grid, not of a command
NOT_COMPARED = {"data": ("residence",), "model": ("weights",)}

logger = logging.getLogger(__name__)


def keep_record(
    root: Path,
    name: str,
    record: Mapping[str, Any],
    known: dict[str, Record],
    *,
    has_run: bool = True,
) -> str:
    """Keep what a command had, beside those of earlier ones; return its id.

    Args:
        known: the records of that name, to which it is added.
        has_run: whether it ran a cell. Else what is known of the one that ran the same cells stays.
    """
    record_id = id_of(record)
    path = command_file(root, name, record_id)
    check_inside(root, path.parent)
    before = known.get(record_id)
    if before is not None and not has_run and "made" in before:
        return record_id
    content = {key: value for key, value in record.items() if key not in DERIVED}
    began = next_number(known.values()) if before is None else before["began"]
    content |= {"name": name, "began": began}
    if before != content:
        write_json(path, content)
        known[record_id] = content
    return record_id


def id_of(record: Mapping[str, Any]) -> str:
    """Return the id of a record: of its cells, and the data that they are of."""
    ids = sorted(cell["cell_id"] for cell in record["cells"])
    return fingerprint({"cells": ids, "data": _digest(record)})


def records(root: Path, name: str, known: Mapping[str, Record] | None = None) -> dict[str, Record]:
    """Return the records of all commands for a grid by id, in the order in which they came.

    A damaged one is left out, which is said: the grid's own file has its cells too.

    Args:
        known: those that were read before, and never change.
    """
    found: dict[str, Record] = {**(known or {})}
    for record_id in [one for one in record_ids(root, name) if one not in found]:
        path = command_file(root, name, record_id)
        try:
            check_inside(root, path.parent)
            found[record_id] = checked_grid(path, read_json(path))
            found[record_id]["began"] = int(found[record_id]["began"])
        except (CorruptError, KeyError, TypeError, ValueError) as error:
            found.pop(record_id, None)
            logger.warning("%s: not the record of a command, and is not used (%s)", path, error)
    return dict(sorted(found.items(), key=lambda one: (one[1]["began"], one[0])))


def record_ids(root: Path, name: str) -> list[str]:
    """Return the ids of all records of a grid."""
    names = (path.stem for path in commands_folder(root, name).glob("*.json"))
    return sorted(record_id for record_id in names if ID.fullmatch(record_id))


def merged(known: Mapping[str, Record], newest: str) -> Record:
    """Return the grid that the record with id `newest` is of: all cells of it, and what others are.

    Args:
        known: the records of one name, in their order.
    """
    groups = _grids(known)
    ours = next(group for group in groups if newest in group)
    last = known[newest]
    whole = {group[0]: _cells(known[one] for one in group) for group in groups}
    mine = {**last, "cells": _cells([{"cells": whole[ours[0]]}, last])}  # it may be run again
    profiles = [known[one].get("made", {}).get("profile") for one in ours]
    return {
        **{key: value for key, value in last.items() if key not in ("began", "schema_version")},
        "cells": mine["cells"],
        "last": [cell["cell_id"] for cell in last["cells"]],
        "commands": sorted(known),
        "newest": newest,
        "profiles": [*dict.fromkeys(profile for profile in profiles if profile)],
        "others": [
            {
                "grid": f"{last['name']}@{group[0][:SHOWN]}",
                "cells": len(whole[group[0]]),
                "differs": differing(mine, {**known[group[-1]], "cells": whole[group[0]]}),
            }
            for group in groups
            if group is not ours
        ],
    }


def whole_grid(root: Path, name: str, grid: Record, which: str = "") -> Record:
    """Return a grid out of its file, put together anew where that does not know of a record.

    Args:
        which: "last", or the first digits of an id; the name alone unless given.

    Raises:
        ConfigError: there is none of these.
    """
    if {*record_ids(root, name)} <= {*grid.get("commands", ())} and which in ("", LAST):
        return _last(grid) if which else grid
    known = records(root, name)
    newest = grid.get("newest")
    if newest not in known:  # an older version wrote the file
        newest = id_of(grid)
        known[newest] = grid | {"name": name, "began": next_number(known.values())}
    elif has_more(grid, known.values()):
        known[id_of(grid)] = grid | {"name": name, "began": next_number(known.values())}
    grid = merged(known, newest)
    return _chosen(name, known, grid, which) if which else grid


def _chosen(name: str, known: Mapping[str, Record], grid: Record, which: str) -> Record:
    """Return the part of a name that `which` says: "last", or the first digits of an id.

    Args:
        grid: that of the name alone.

    Raises:
        ConfigError: there is none, or there are several.
    """
    if which == LAST:
        return _last(grid)
    groups = _grids(known)
    found = [group for group in groups if which and group[0].startswith(which)]
    if len(found) != 1:
        others = [one["grid"] for one in grid.get("others", ())]
        raise ConfigError(
            f"unknown grid {name}@{which!r}; allowed of {name} are: "
            f"{', '.join([name, f'{name}@{LAST}', *others])}"
        )
    return merged({one: known[one] for one in found[0]}, found[0][-1])


def _last(grid: Record) -> Record:
    """Return the part of a grid that its newest command had."""
    last = {*grid.get("last", _ids(grid))}
    return {**grid, "cells": [cell for cell in grid["cells"] if cell["cell_id"] in last]}


def is_same_grid(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    """Say whether the cells of two records are of one grid."""
    if _digest(a) != _digest(b):
        return False
    return _any_fits(_frames_of(a), _frames_of(b))


def differing(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    """Return in which options the nearest cells of two records differ; "data" of other images."""
    if _digest(a) != _digest(b):
        return ["data"]
    these, those = _frames_of(a), _frames_of(b)
    if _plain(these) and _plain(those):
        pairs = itertools.product(_plain(these), _plain(those))
    else:
        pairs = itertools.product(these, those)
    return min((_differing_keys(*pair) for pair in pairs), key=len, default=[])


def has_more(grid: Record, known: Iterable[Record]) -> bool:
    """Say whether a grid's file has cells of which no record is left: one was lost, or damaged."""
    return not _ids(grid) <= {cell_id for record in known for cell_id in _ids(record)}


def _ids(record: Mapping[str, Any]) -> set[str]:
    return {cell["cell_id"] for cell in record["cells"]}


def next_number(known: Iterable[Record]) -> int:
    """Return the number of a new record: they are counted, since clocks differ."""
    return 1 + max((record["began"] for record in known), default=0)


def _grids(known: Mapping[str, Record]) -> list[list[str]]:
    """Return the ids of the records of each grid, both in their order."""
    if len(known) == 1:
        return [[*known]]
    groups: list[Group] = []  # that of the newest record last
    for record_id, record in known.items():
        digest, frames = _digest(record), _frames_of(record)
        fitting = [one for one in groups if one[1] == digest and _any_fits(one[2], frames)]
        if not _plain(frames):  # which fits several, and must not join them
            fitting = fitting[-1:]
        ids = [one_id for group in fitting for one_id in group[0]]
        frames = frames.union(*(group[2] for group in fitting))
        groups = [one for one in groups if one not in fitting]
        groups.append(([*ids, record_id], digest, frames))
    order = [*known]
    found = [sorted(ids, key=order.index) for ids, _, _ in groups]
    return sorted(found, key=lambda ids: order.index(ids[0]))


def _cells(found: Iterable[Record]) -> list[dict[str, Any]]:
    """Return the cells of several records, each once, as the newest has it."""
    return [*{cell["cell_id"]: cell for record in found for cell in record["cells"]}.values()]


def _frames_of(record: Mapping[str, Any]) -> frozenset[Frame]:
    return frozenset(
        _frame(text) for text in {_whole(cell["config"]): None for cell in record["cells"]}
    )


def _whole(config: Mapping[str, Any]) -> str:
    """Return what a frame is made of, of cells that may differ in bias and seed alone."""
    rest = {key: value for key, value in config.items() if key not in ("bias", "seed")}
    return json.dumps(rest, sort_keys=True)


@functools.lru_cache(maxsize=4096)
def _frame(text: str) -> Frame:
    """Return what cells of one grid have in common, as this version of curvetune writes it.

    Args:
        text: of `_whole`.
    """
    config = json.loads(text)
    native = config["method"].get("recipe") == NATIVE
    with contextlib.suppress(ValidationError):  # of another version; it is taken as it is
        config = read_config(config).model_dump(mode="json")
    parts: list[str] = []
    for section in ("data", "model", "probe", "allocate"):
        left_out = NOT_COMPARED.get(section, ())
        options = {k: v for k, v in config[section].items() if k not in left_out}
        parts.append(json.dumps(options, sort_keys=True))
    return parts[0], parts[1], parts[2], NATIVE if native else parts[3]


def _digest(record: Mapping[str, Any]) -> str:
    return str(record.get("data_digest", ""))  # which a very old version did not record


def _any_fits(these: Collection[Frame], those: Collection[Frame]) -> bool:
    """Say whether cells with such frames may be of one grid.

    If both have a final training that is not their method's own, one must be the same.
    """
    if _plain(these) and _plain(those):
        return not _plain(these).isdisjoint(_plain(those))
    return not {one[:3] for one in these}.isdisjoint(other[:3] for other in those)


def _plain(frames: Collection[Frame]) -> set[Frame]:
    """Return the frames whose final training can be compared."""
    return {one for one in frames if one[3] != NATIVE}


def _differing_keys(one: Frame, other: Frame) -> list[str]:
    keys: list[str] = []
    sections: Sequence[str] = ("data", "model", "probe", "allocate")
    for section, these, those in zip(sections, one, other, strict=True):
        if NATIVE not in (these, those):
            a, b = json.loads(these), json.loads(those)
            keys += [f"{section}.{k}" for k in {**a, **b} if a.get(k) != b.get(k)]
    return keys
