"""A grid holds what all of its commands ran: a narrower one makes it no smaller."""

import itertools
import json
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from storage_fixtures import DIGEST, finish, make_cells, write_grid

from curvetune.config import CellConfig
from curvetune.errors import ConfigError, CorruptError
from curvetune.grids.catalog import Catalog
from curvetune.grids.cells import GridReader, read_grid
from curvetune.store import CellStore
from curvetune.store.commands import records
from curvetune.store.files import write_json
from curvetune.store.garbage import find_garbage

CE, CURVENET, GCE = {"name": "cross-entropy"}, {"name": "curvenet"}, {"name": "gce"}
SHORT = {"allocate": {"epochs": 2, "warmup": 0, "milestones": [1]}}


def ids(cells: Sequence[CellConfig]) -> list[str]:
    return [cell.cell_id(DIGEST) for cell in cells]


def shown(root: Path, name: str = "small") -> list[str]:
    return [cell.cell_id for cell in read_grid(root, name).cells]


def write_as_before(root: Path, cells: Sequence[CellConfig], name: str = "small") -> None:
    """Write a grid's file as versions before this one did, in place of what was there."""
    entries = [
        {
            "cell_id": cell.cell_id(DIGEST),
            "probe_id": cell.probe_id(DIGEST),
            "config": cell.model_dump(mode="json"),
        }
        for cell in cells
    ]
    grid = {"schema_version": 2, "name": name, "command": "old", "data_digest": DIGEST}
    write_json(root / "grids" / f"{name}.json", grid | {"cells": entries})


@pytest.mark.parametrize(
    "narrower",
    [{"seeds": [0]}, {"methods": [CE]}, {"imbalances": [1], "noise_rates": [0.4]}],
)
def test_a_narrower_command_leaves_the_grid_as_large_as_it_was(
    tmp_path: Path, narrower: dict[str, Any]
) -> None:
    write_grid(tmp_path, make_cells())
    write_grid(tmp_path, make_cells(**narrower))
    assert shown(tmp_path) == ids(make_cells())
    assert shown(tmp_path, "small@last") == ids(make_cells(**narrower))


@pytest.mark.parametrize(
    "wider",
    [{"seeds": [0, 1, 2]}, {"methods": [CE, GCE]}, {"imbalances": [1, 20]}, {"seeds": [7]}],
)
def test_a_wider_or_another_command_adds_to_it(tmp_path: Path, wider: dict[str, Any]) -> None:
    write_grid(tmp_path, make_cells())
    write_grid(tmp_path, make_cells(**wider))
    assert shown(tmp_path) == [*dict.fromkeys(ids(make_cells()) + ids(make_cells(**wider)))]


def test_whatever_the_order_of_commands_the_same_cells_are_there(tmp_path: Path) -> None:
    parts = [make_cells(seeds=[0]), make_cells(methods=[GCE]), make_cells(imbalances=[50])]
    found = []
    for k, order in enumerate(itertools.permutations(parts)):
        for cells in order:
            write_grid(tmp_path / str(k), cells)
        found.append(set(shown(tmp_path / str(k))))
    assert all(one == set().union(*map(ids, parts)) for one in found)


def test_a_swept_option_or_network_is_no_other_grid(tmp_path: Path) -> None:
    swept = make_cells(methods=[{"name": "curvenet", "skip_layers": 1}])
    two = [*make_cells(), *make_cells(model={"name": "resnet20"})]
    for cells in (make_cells(), swept, two):
        write_grid(tmp_path, cells)
    assert set(shown(tmp_path)) == {*ids(make_cells()), *ids(swept), *ids(two)}
    assert CellStore(tmp_path).kept("small") == []


def test_a_method_with_its_published_recipe_is_of_the_same_grid(tmp_path: Path) -> None:
    methods = [CE, {"name": "dividemix", "recipe": "native"}]
    native = make_cells(methods, data={"name": "cifar10"})
    plain = make_cells([CE], data={"name": "cifar10"})
    write_grid(tmp_path, [one for one in native if one.method.name == "dividemix"])
    write_grid(tmp_path, plain)
    assert CellStore(tmp_path).kept("small") == []


def test_a_method_with_its_published_recipe_joins_no_two_grids(tmp_path: Path) -> None:
    cifar: dict[str, Any] = {"data": {"name": "cifar10"}}
    first = make_cells([CE], seeds=[0], **cifar)
    second = make_cells([CE], seeds=[1], **cifar, **SHORT)
    native = make_cells([{"name": "dividemix", "recipe": "native"}], **cifar)
    for cells in (first, second, native):
        write_grid(tmp_path, cells)
    assert set(shown(tmp_path)) == {*ids(second), *ids(native)}
    (other,) = CellStore(tmp_path).kept("small")
    assert shown(tmp_path, other) == ids(first)
    write_grid(tmp_path, [*first, *native])  # both have the method: their bases still differ
    (other,) = CellStore(tmp_path).read_grid("small")["others"]
    assert other["differs"] == ["allocate.epochs", "allocate.milestones"]
    assert set(shown(tmp_path, other["grid"])) == {*ids(second), *ids(native)}


@pytest.mark.parametrize(
    ("other", "differs"),
    [
        ({"data": {"name": "digits", "train_limit": 200}}, ["data.train_limit"]),
        ({"model": {"name": "resnet20"}}, ["model.name"]),
        (SHORT, ["allocate.epochs", "allocate.milestones"]),
    ],
)
def test_another_base_under_the_same_name_is_told_apart_and_nothing_is_lost(
    tmp_path: Path, other: dict[str, Any], differs: list[str]
) -> None:
    first, second = make_cells(), make_cells(**other)
    write_grid(tmp_path, first)
    write_grid(tmp_path, second)
    store = CellStore(tmp_path)
    assert shown(tmp_path) == ids(second)
    (name,) = store.kept("small")
    assert name.startswith("small@")
    assert shown(tmp_path, name) == ids(first)
    assert store.read_grid("small")["others"] == [
        {"grid": name, "cells": len(first), "differs": differs}
    ]
    write_grid(tmp_path, first)
    assert shown(tmp_path) == ids(first)
    (other_name,) = store.kept("small")
    assert shown(tmp_path, other_name) == ids(second)


def test_other_data_under_the_same_name_is_told_apart(tmp_path: Path) -> None:
    write_grid(tmp_path, make_cells())
    store = CellStore(tmp_path)
    entries = store.read_grid("small")["cells"]
    moved = [{**one, "cell_id": one["cell_id"][::-1]} for one in entries[:3]]
    store.write_grid("small", {"command": "c", "data_digest": "e" * 64, "cells": moved})
    assert len(shown(tmp_path)) == 3
    (other,) = store.read_grid("small")["others"]
    assert (other["cells"], other["differs"]) == (len(entries), ["data"])
    assert store.read_grid(other["grid"])["data_digest"] == DIGEST


def test_an_unknown_part_of_a_name_is_refused_with_those_that_there_are(tmp_path: Path) -> None:
    write_grid(tmp_path, make_cells())
    write_grid(tmp_path, make_cells(**SHORT))
    (other,) = CellStore(tmp_path).kept("small")
    with pytest.raises(ConfigError, match=f"allowed of small are: small, small@last, {other}"):
        read_grid(tmp_path, "small@zz")


def test_the_record_of_an_older_version_is_read_and_kept(tmp_path: Path) -> None:
    write_as_before(tmp_path, make_cells())
    assert shown(tmp_path) == shown(tmp_path, "small@last") == ids(make_cells())
    write_grid(tmp_path, make_cells(seeds=[0]))
    assert shown(tmp_path) == ids(make_cells())


def test_an_older_version_that_writes_afterwards_loses_nothing_either(tmp_path: Path) -> None:
    write_grid(tmp_path, make_cells())
    write_as_before(tmp_path, make_cells(seeds=[0]))
    assert shown(tmp_path) == ids(make_cells())
    assert shown(tmp_path, "small@last") == ids(make_cells(seeds=[0]))
    write_grid(tmp_path, make_cells(seeds=[1]))
    assert set(shown(tmp_path)) == set(ids(make_cells()))


def test_two_drivers_at_once_lose_nothing(tmp_path: Path) -> None:
    parts = [make_cells(seeds=[seed]) for seed in range(8)]
    begin = threading.Barrier(len(parts))

    def drive(cells: list[CellConfig]) -> None:
        begin.wait()
        write_grid(tmp_path, cells)

    threads = [threading.Thread(target=drive, args=(cells,)) for cells in parts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(shown(tmp_path)) == set().union(*map(ids, parts))


def test_a_grid_file_that_missed_a_record_is_put_together_anew(tmp_path: Path) -> None:
    write_grid(tmp_path, make_cells(seeds=[0]))
    path = tmp_path / "grids" / "small.json"
    stale = path.read_bytes()
    write_grid(tmp_path, make_cells(seeds=[1]))
    path.write_bytes(stale)  # as the slower of two drivers leaves it
    assert set(shown(tmp_path)) == set(ids(make_cells()))


def test_a_reader_that_goes_on_sees_the_cells_of_another_driver(tmp_path: Path) -> None:
    write_grid(tmp_path, make_cells(seeds=[0]))
    reader = GridReader(tmp_path, "small")
    assert len(reader.read().cells) == len(make_cells(seeds=[0]))
    write_grid(tmp_path, make_cells(seeds=[1]))
    assert len(reader.read().cells) == len(make_cells())


def test_a_damaged_record_costs_nothing(tmp_path: Path) -> None:
    write_grid(tmp_path, make_cells(seeds=[0]))
    write_grid(tmp_path, make_cells(seeds=[1]))
    for path in (tmp_path / "grids" / "commands" / "small").glob("*.json"):
        path.write_text("[]")
    assert set(shown(tmp_path)) == set(ids(make_cells()))


def test_a_damaged_record_costs_nothing_after_the_next_command_either(tmp_path: Path) -> None:
    write_grid(tmp_path, make_cells(seeds=[0]))
    (first,) = (tmp_path / "grids" / "commands" / "small").glob("*.json")
    write_grid(tmp_path, make_cells(seeds=[1]))
    first.write_text("{")
    for seed in (2, 3):
        write_grid(tmp_path, make_cells(seeds=[seed]))
    assert set(shown(tmp_path)) == set(ids(make_cells(seeds=range(4))))
    assert set(shown(tmp_path, "small@last")) == set(ids(make_cells(seeds=[3])))


def test_cells_with_corrected_labels_are_another_grid(tmp_path: Path) -> None:
    corrected = make_cells(seeds=[2], data={"name": "digits", "relabel": "a" * 16})
    write_grid(tmp_path, make_cells())
    write_grid(tmp_path, corrected)
    assert shown(tmp_path) == ids(corrected)
    (other,) = CellStore(tmp_path).read_grid("small")["others"]
    assert other["differs"] == ["data.relabel"]


def test_a_cell_is_shown_as_the_newest_command_had_it(tmp_path: Path) -> None:
    write_grid(tmp_path, make_cells(seeds=[0]))
    write_grid(tmp_path, make_cells())
    store = CellStore(tmp_path)
    grid = store.read_grid("small@last")
    again = [cell for cell in grid["cells"] if cell["config"]["seed"] == 0]
    for cell in again:
        cell["config"]["data"]["residence"] = "moved"
    content = {"command": "again", "data_digest": DIGEST, "cells": again}
    store.write_grid("small", content)
    found = [one for one in store.read_grid("small")["cells"] if one["config"]["seed"] == 0]
    assert {one["config"]["data"]["residence"] for one in found} == {"moved"}


def test_the_same_command_again_changes_no_file(tmp_path: Path) -> None:
    write_grid(tmp_path, make_cells())
    files = {path: path.read_bytes() for path in tmp_path.rglob("*.json")}
    write_grid(tmp_path, make_cells())
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.json")} == files
    assert len(records(tmp_path, "small")) == 1


def test_no_cell_of_an_earlier_command_is_garbage(tmp_path: Path) -> None:
    first, second = make_cells(), make_cells(**SHORT)
    for cells in (first, second, make_cells(seeds=[0], **SHORT)):
        write_grid(tmp_path, cells)
    for cell in [*first, *second]:
        finish(tmp_path, cell, 50.0)
    found = [item for item in find_garbage(tmp_path) if item.kind in ("cell", "result", "probe")]
    assert found == []
    assert set(Catalog(tmp_path).ids) == set(ids([*first, *second]))


def test_what_is_written_is_json_that_older_versions_read(tmp_path: Path) -> None:
    write_grid(tmp_path, make_cells())
    write_grid(tmp_path, make_cells(seeds=[0]))
    grid = json.loads((tmp_path / "grids" / "small.json").read_text())
    assert {"schema_version", "name", "command", "data_digest", "cells"} <= grid.keys()
    assert [cell["cell_id"] for cell in grid["cells"]] == ids(make_cells())


@pytest.mark.parametrize(
    "hostile",
    [
        {"others": "x"},
        {"others": [{"cells": 3}]},
        {"others": [{"grid": 1, "differs": []}]},
        {"made": []},
        {"profiles": [{}]},
        {"last": 3},
        {"commands": [None]},
    ],
)
def test_a_record_that_lies_is_refused_as_none(tmp_path: Path, hostile: dict[str, Any]) -> None:
    write_grid(tmp_path, make_cells())
    path = tmp_path / "grids" / "small.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | hostile))
    with pytest.raises(CorruptError, match="not the record of a grid"):
        read_grid(tmp_path, "small")
    write_grid(tmp_path, make_cells(seeds=[5]))  # the next command writes it anew, from the records
    assert set(shown(tmp_path)) == set(ids([*make_cells(), *make_cells(seeds=[5])]))


def test_a_command_that_ran_nothing_leaves_what_is_known_of_the_one_that_did(
    tmp_path: Path,
) -> None:
    store = CellStore(tmp_path)
    write_grid(tmp_path, make_cells())
    grid = {key: store.read_grid("small")[key] for key in ("cells", "data_digest")}
    first = {**grid, "command": "first", "made": {"profile": "smoke"}}
    store.write_grid("small", first)
    store.write_grid("small", {**grid, "command": "again", "made": {}}, has_run=False)
    found = store.read_grid("small")
    assert (found["command"], found["made"]) == ("first", {"profile": "smoke"})
    store.write_grid("small", {**grid, "command": "again", "made": {}})
    assert store.read_grid("small")["command"] == "again"
