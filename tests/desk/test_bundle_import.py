"""`curvetune import`: a colleague's cells in one's own storage, checked, and never run again."""

import json
import os
import shutil
from pathlib import Path

import pytest
from bundled import (
    GRID,
    bundle,
    changed,
    files_of,
    inside,
    place_of,
    rewritten,
    run,
    small_bundle,
    small_grid,
)
from storage_fixtures import DIGEST, finish, make_cells, write_grid
from trained_grid import GRID as TRAINED
from trained_grid import train_grid

from curvetune.bundles.take import take_bundle
from curvetune.errors import ConfigError, CorruptError
from curvetune.planning.plan import build_plan
from curvetune.planning.space import load_space
from curvetune.report.tables.main import report_json
from curvetune.store import CellStore, CurveStore
from curvetune.store.facts import read_facts, write_facts
from curvetune.store.files import read_json, write_json
from curvetune.store.lease import leased
from curvetune.store.names import step_times_file
from curvetune.store.relabels import read_relabel, relabel_content, write_relabel


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A storage with a grid that was really trained."""
    root = tmp_path_factory.mktemp("trained")
    train_grid(root, rates=(0.4,))
    return root


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of a small grid."""
    return small_bundle(tmp_path_factory.mktemp("bundle"))


@pytest.fixture
def path(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(made, tmp_path))


def take(path: Path, storage: Path, *more: str) -> dict[str, object]:
    done = run("import", path, "--storage", storage, "--json", *more)
    found: dict[str, object] = json.loads(done.stdout)
    return found


def test_an_import_leaves_byte_for_byte_what_the_cells_left_where_they_ran(
    trained: Path, tmp_path: Path
) -> None:
    bundle(trained, tmp_path / "out.zip", grid=TRAINED)
    found = take(tmp_path / "out.zip", tmp_path / "to")
    assert found["cells"] == {"new": 2, "there": 0}
    assert found["probes"] == {"new": 1, "there": 0}
    assert found["splits"] == {"new": 1, "there": 0}
    assert (found["refused"], found["recorded"]) == ([], True)
    assert files_of(tmp_path / "to") == files_of(trained)
    assert report_json(tmp_path / "to", TRAINED) == report_json(trained, TRAINED)


def test_what_was_imported_is_not_run_again(trained: Path, tmp_path: Path) -> None:
    bundle(trained, tmp_path / "out.zip", grid=TRAINED)
    to = tmp_path / "to"
    take(tmp_path / "out.zip", to)
    (tmp_path / "space.yaml").write_bytes(inside(tmp_path / "out.zip")["space.yaml"])
    digest = CellStore(trained).read_grid(TRAINED)["data_digest"]
    cells = CellStore(to)
    plan = build_plan(
        load_space(str(tmp_path / "space.yaml")),
        digest,
        is_done=lambda cell_id: cells.result(cell_id) is not None,
        has_probe=CurveStore(to).has,
    )
    counts = plan.counts()
    assert (counts["cells_total"], counts["cells_done"], counts["cells_to_run"]) == (2, 2, 0)


def test_what_is_there_already_stays_as_it_is(path: Path, tmp_path: Path) -> None:
    to = tmp_path / "to"
    mine = make_cells(imbalances=(1, 10), noise_rates=(0.4,))[0]
    finish(to, mine, 12.0)
    before = files_of(to)
    found = take(path, to)
    assert found["cells"] == {"new": 7, "there": 1}
    after = files_of(to)
    assert {name: after[name] for name in before} == before
    assert (CellStore(to).result(mine.cell_id(DIGEST)) or {})["accuracy"] == 12.0
    assert take(path, to)["cells"] == {"new": 0, "there": 8}


def test_a_damaged_cell_costs_only_itself_and_comes_with_the_whole_bundle(
    path: Path, tmp_path: Path
) -> None:
    to = tmp_path / "to"
    ids = sorted({name.split("/")[2] for name in inside(path) if "/cells/" in name})
    damaged = changed(path, place_of(path, f"storage/cells/{ids[2]}/history.jsonl") + 3)
    done = run("import", damaged, "--storage", to)
    assert done.code == 3
    assert "small: 7 cells (7 new), 4 probes (4 new)" in done.stdout
    assert f"not taken: cell {ids[2]}: " in done.stderr
    assert "history.jsonl: it is damaged" in done.stderr
    assert not (to / "cells" / ids[2] / "DONE.json").exists()
    assert take(path, to)["cells"] == {"new": 1, "there": 7}


def test_a_missing_cell_or_probe_is_said_and_costs_only_itself(path: Path, tmp_path: Path) -> None:
    to = tmp_path / "to"
    names = sorted(inside(path))
    cell = next(name.split("/")[2] for name in names if "/cells/" in name)
    probe = next(name.split("/")[2] for name in names if "/probes/" in name)
    short = rewritten(
        path,
        lambda files: {
            name: content
            for name, content in files.items()
            if f"cells/{cell}" not in name and f"{probe}/curves.npy" not in name
        },
    )
    found = take(short, to)
    assert (found["cells"], found["probes"]) == ({"new": 7, "there": 0}, {"new": 3, "there": 0})
    refused = found["refused"]
    assert isinstance(refused, list)
    assert [line.partition(":")[0] for line in refused] == [f"probe {probe}", f"cell {cell}"]
    assert str(tmp_path) not in "".join(refused)


def test_a_cell_that_is_another_one_than_its_id_says_is_refused(path: Path, tmp_path: Path) -> None:
    to = tmp_path / "to"
    first, second = sorted({n.split("/")[2] for n in inside(path) if "/cells/" in n})[:2]

    def swapped(files: dict[str, bytes]) -> dict[str, bytes]:
        return {
            name.replace(first, second) if "/cells/" in name else name: content
            for name, content in files.items()
            if second not in name
        }

    found = take(rewritten(path, swapped), to)
    assert found["cells"] == {"new": 6, "there": 0}
    assert f"holds what was published as '{first}'" in str(found["refused"])


def test_a_probe_of_something_else_is_refused(tmp_path: Path) -> None:
    root, to = tmp_path / "from", tmp_path / "to"
    small_grid(root)
    probe = sorted(path.name for path in (root / "probes").iterdir())[0]
    store = CurveStore(root)
    info = {k: v for k, v in store.manifest(probe).items() if k == "seconds"}
    curves = store.read(probe).copy()
    store.discard(probe)
    store.write(probe, curves, info)
    bundle(root, tmp_path / "out.zip")
    found = take(tmp_path / "out.zip", to)
    assert found["probes"] == {"new": 3, "there": 0}
    assert found["refused"] == [f"probe {probe}: it is of something else than its address says"]


def test_a_bundle_that_was_cut_off_changes_nothing(path: Path, tmp_path: Path) -> None:
    to = tmp_path / "to"
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(CorruptError, match=r"not a bundle, or not all of one.*copy it again"):
        take_bundle(path, to)
    assert not to.exists()


def test_a_grid_whose_record_is_damaged_gives_its_cells_all_the_same(
    path: Path, tmp_path: Path
) -> None:
    to = tmp_path / "to"
    damaged = changed(path, place_of(path, "storage/grids/small.json") + 9)
    found = take(damaged, to)
    assert (found["cells"], found["recorded"]) == ({"new": 8, "there": 0}, False)
    assert "the record of the grid: " in str(found["refused"])


def test_another_grid_of_that_name_is_not_touched(path: Path, tmp_path: Path) -> None:
    to = tmp_path / "to"
    other = make_cells(imbalances=(1,), seeds=(0,), data={"name": "digits", "per_class_limit": 5})
    write_grid(to, other)
    before = (to / "grids" / "small.json").read_bytes()
    with pytest.raises(ConfigError, match=r"another grid small, of 4 cells.*--name NAME"):
        take_bundle(path, to)
    assert (to / "grids" / "small.json").read_bytes() == before
    assert take(path, to, "--name", "theirs")["grid"] == "theirs"
    assert len(CellStore(to).read_grid("theirs")["cells"]) == 8
    assert (to / "grids" / "small.json").read_bytes() == before


def test_more_seeds_of_the_same_grid_join_those_that_are_there(path: Path, tmp_path: Path) -> None:
    to = tmp_path / "to"
    more = make_cells(imbalances=(1, 10), noise_rates=(0.4,), seeds=(2,))
    write_grid(to, more)
    for cell in more:
        finish(to, cell, 70.0)
    take(path, to)
    assert report_json(to, GRID)["methods"][0]["cells_done"] == 6


def test_what_tables_tell_of_beside_cells_comes_with_them(tmp_path: Path) -> None:
    root, to = tmp_path / "from", tmp_path / "to"
    digest = write_relabel(root, relabel_content({3: 1}, ["cat", "dog"], DIGEST))
    cells = make_cells(noise_rates=(0.4,), data={"name": "digits", "relabel": digest})
    write_grid(root, cells)
    finish(root, cells[0], 50.0)
    sizes = {"train": [8, 2], "test": [5, 5]}
    write_facts(root, DIGEST, {"class_sizes": sizes, "copies": ["mine/holiday.png"]})
    times = {"steps": [], "grid": GRID}
    write_json(step_times_file(root, GRID), times)
    bundle(root, tmp_path / "out.zip")
    assert b"holiday" not in b"".join(inside(tmp_path / "out.zip").values())
    assert take(tmp_path / "out.zip", to)["relabels"] == {"new": 1, "there": 0}
    assert read_relabel(to, digest, DIGEST) == {3: 1}
    assert read_facts(to, DIGEST) == {"class_sizes": sizes}
    assert read_json(step_times_file(to, GRID)) == times
    write_facts(to, DIGEST, {"class_sizes": {"train": [1, 1]}})
    assert take(tmp_path / "out.zip", to)["relabels"] == {"new": 0, "there": 1}
    assert read_facts(to, DIGEST) == {"class_sizes": {"train": [1, 1]}}


def test_a_cell_that_somebody_works_on_is_left_to_him(path: Path, tmp_path: Path) -> None:
    to = tmp_path / "to"
    cell = make_cells(imbalances=(1, 10), noise_rates=(0.4,))[0].cell_id(DIGEST)
    with leased(CellStore(to).folder(cell)):
        found = take(path, to)
    assert found["cells"] == {"new": 7, "there": 0}
    assert f"cell {cell}: " in str(found["refused"])
    assert f"process {os.getpid()} on" in str(found["refused"])


def test_what_a_cell_had_begun_gives_way_to_its_result(path: Path, tmp_path: Path) -> None:
    to = tmp_path / "to"
    cell = make_cells(imbalances=(1, 10), noise_rates=(0.4,))[1]
    folder = CellStore(to).folder(cell.cell_id(DIGEST))
    folder.mkdir(parents=True)
    (folder / "checkpoint.safetensors").write_bytes(b"half")
    (folder / "history.jsonl").write_bytes(b"{}\n")
    take(path, to)
    assert CellStore(to).result(cell.cell_id(DIGEST)) is not None
    assert not (folder / "checkpoint.safetensors").exists()


def test_a_folder_of_the_storage_that_leads_elsewhere_is_not_written_through(
    path: Path, tmp_path: Path
) -> None:
    to = tmp_path / "to"
    (tmp_path / "elsewhere").mkdir()
    to.mkdir()
    (to / "cells").symlink_to(tmp_path / "elsewhere")
    done = run("import", path, "--storage", to)
    assert done.code == 5
    assert "a link that leads out of the storage" in done.stderr
    assert list((tmp_path / "elsewhere").iterdir()) == []
