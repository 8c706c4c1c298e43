"""`curvetune show GRID > again.yaml`: what ran can be run again, to "nothing to run"."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from image_folder import write_images
from storage_fixtures import DIGEST, make_cells, write_grid
from typer.testing import CliRunner

import curvetune
from curvetune.cli import app
from curvetune.errors import ConfigError
from curvetune.places import Places
from curvetune.planning.again import again
from curvetune.planning.selection import parse_selection
from curvetune.planning.space import load_space
from curvetune.run import _grid_file, make_plan
from curvetune.store import CellStore


def invoke(*words: object) -> str:
    done = CliRunner().invoke(app, [*map(str, words)])
    assert done.exit_code == 0, done.output
    return done.stdout


def record(storage: Path, space: str, **options: Any) -> list[str]:
    """Record a grid as `curvetune grid` does before anything runs; return the ids of its cells."""
    places = Places(options.pop("data_dir", None), storage)
    texts = [f"{key}={value}" for key, value in options.pop("set", {}).items()]
    found = parse_selection(
        space,
        options.pop("methods", ""),
        options.pop("seeds", ""),
        options.pop("profile", "release"),
        texts,
        options.pop("plugins", ()),
        options.pop("name", ""),
    )
    plan = make_plan(found, places, lambda _: None)
    CellStore(storage).write_grid(plan.name, _grid_file(plan, "curvetune grid …"))
    return [cell.cell_id for cell in plan.cells]


def ids_of(file: Path, storage: Path, *more: object) -> list[str]:
    found = json.loads(invoke("plan", file, "--storage", storage, "--json", *more))
    return [cell["cell_id"] for cell in found["cells"]]


def shown(storage: Path, grid: str, file: Path) -> Path:
    file.write_text(invoke("show", grid, "--storage", storage), encoding="utf-8")
    return file


OWN = """
base:
  data: {name: digits, per_class_limit: 30}
  allocate: {epochs: 4, milestones: [2, 3]}
grid:
  imbalance: [1, 10]
  seed: [0, 1]
  method:
    - {name: cross-entropy}
    - {name: curvenet, skip_layers: [0, 3]}
"""
GRIDS: dict[str, dict[str, Any]] = {
    "built-in": {"space": "digits"},
    "smoke": {"space": "digits", "profile": "smoke"},
    "paper": {"space": "digits", "profile": "paper", "methods": "curvenet,mw-net-noise"},
    "fast": {"space": "digits", "profile": "fast", "seeds": "3,5-6"},
    "methods": {"space": "digits", "methods": "all", "seeds": "0"},
    "set": {"space": "digits", "set": {"probe.epochs": "50", "imbalance": "[1,20]"}},
    "ablation": {"space": "ablate-skip-layers", "set": {"data.name": "digits"}},
    "own file": {"space": "own.yaml"},
    "own smoke": {"space": "own.yaml", "profile": "smoke", "set": {"method.skip_layers": "1"}},
    "named": {"space": "own.yaml", "name": "another.one"},
}


@pytest.mark.parametrize("kind", GRIDS)
def test_what_is_shown_is_the_same_grid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("own.yaml").write_text(OWN)
    storage, options = tmp_path / "storage", dict(GRIDS[kind])
    wanted = record(storage, options.pop("space"), **options)
    (name,) = CellStore(storage).grids()
    Path("own.yaml").unlink()  # it may be gone
    file = shown(storage, name, tmp_path / "again.yaml")
    assert sorted(ids_of(file, storage)) == sorted(wanted)
    found = load_space(str(file))
    assert (found.name, found.profile) == (name, GRIDS[kind].get("profile", "release"))


def test_what_is_shown_of_all_commands_together_is_all_of_it(tmp_path: Path) -> None:
    storage = tmp_path / "storage"
    wanted = {*record(storage, "digits", methods="cross-entropy", seeds="0-1")}
    wanted |= {*record(storage, "digits", methods="gce", seeds="2", set={"imbalance": "[1,50]"})}
    last = record(storage, "digits", methods="curvenet", seeds="0")
    file = shown(storage, "digits", tmp_path / "again.yaml")
    assert {*ids_of(file, storage)} == {*wanted, *last}
    assert len(yaml.safe_load(file.read_text())["grids"]) > 1
    file = shown(storage, "digits@last", tmp_path / "again.yaml")
    assert sorted(ids_of(file, storage)) == sorted(last)


def test_any_set_of_cells_is_shown_and_read_again(tmp_path: Path) -> None:
    cells = make_cells(seeds=[0, 1, 2])
    for step in (1, 2, 3, 5):
        some = cells[::step]
        entries = [
            {"cell_id": c.cell_id(DIGEST), "config": c.model_dump(mode="json")} for c in some
        ]
        file = tmp_path / f"{step}.yaml"
        file.write_text(again({"name": "small", "data_digest": DIGEST, "cells": entries}))
        found = load_space(str(file)).cells
        assert {c.cell_id(DIGEST) for c in found} == {c.cell_id(DIGEST) for c in some}
        assert len(found) == len(some)


def test_images_are_found_where_they_were(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_images(tmp_path / "images")
    monkeypatch.chdir(tmp_path)
    storage = tmp_path / "storage"
    wanted = record(storage, "folder", data_dir=Path("images"), seeds="0")
    file = shown(storage, "folder", tmp_path / "again.yaml")
    monkeypatch.chdir("/")
    assert sorted(ids_of(file, storage)) == sorted(wanted)
    (tmp_path / "images").rename(tmp_path / "moved")
    moved = ids_of(file, storage, "--data-dir", tmp_path / "moved")
    assert sorted(moved) == sorted(wanted)


def test_its_cells_that_are_done_are_found_and_nothing_is_to_run(tmp_path: Path) -> None:
    from trained_grid import GRID, train_grid

    cells = train_grid(tmp_path / "storage", methods=({"name": "cross-entropy"},))
    file = shown(tmp_path / "storage", GRID, tmp_path / "again.yaml")
    plan = curvetune.plan(file, storage=tmp_path / "storage")
    assert (plan.name, len(plan), plan.plan.left) == (GRID, len(cells), ())


def test_a_profile_is_not_applied_twice(tmp_path: Path) -> None:
    record(tmp_path, "digits", profile="fast", seeds="0")
    file = shown(tmp_path, "digits", tmp_path / "again.yaml")
    load_space(str(file), profile="fast")
    with pytest.raises(ConfigError, match="are those of profile fast already"):
        load_space(str(file), profile="smoke")


def test_seeds_and_methods_can_still_be_chosen(tmp_path: Path) -> None:
    record(tmp_path, "digits", methods="cross-entropy", seeds="0-1")
    record(tmp_path, "digits", methods="curvenet", seeds="2")
    file = shown(tmp_path, "digits", tmp_path / "again.yaml")
    some = load_space(str(file), methods=["curvenet"], seeds=[9]).cells
    assert {(c.method.name, c.seed) for c in some} == {("curvenet", 9)}
    new = load_space(str(file), methods=["gce"], seeds=[0]).cells
    assert {c.method.name for c in new} == {"gce"}


def test_a_plugin_is_named_with_its_version_and_digest_and_asked_for(tmp_path: Path) -> None:
    ref = {"name": "mine", "version": "1.2", "digest": "0123456789abcdef"}
    (cell,) = make_cells([{"name": "cross-entropy"}], [1], [0.0], [0])
    config = cell.model_dump(mode="json")
    config["method"] = {"name": "mine-all-mine", "plugin": ref}
    entry = {"cell_id": "0" * 16, "probe_id": None, "config": config}
    grid = {"command": "c", "data_digest": DIGEST, "cells": [entry]}
    CellStore(tmp_path).write_grid("small", grid)
    done = CliRunner().invoke(app, ["show", "small", "--storage", str(tmp_path)])
    assert "it needs the plugin mine 1.2 (source 0123456789abcdef)" in done.stdout
    assert "give it with --plugin FILE.py" in done.stderr
    file = tmp_path / "again.yaml"
    file.write_text(done.stdout)
    with pytest.raises(ConfigError, match=r"plugin mine 1\.2 .* is not loaded here; .*--plugin"):
        load_space(str(file))


def test_a_record_of_an_older_version_is_shown_too(tmp_path: Path) -> None:
    cells = make_cells()
    write_grid(tmp_path, cells)
    text = again(
        CellStore(tmp_path).read_grid("small")
        | {"command": "curvetune grid small --profile smoke --data-dir '/a b/c' --seeds 0"}
    )
    values = yaml.safe_load(text)
    assert (values["profile"], values["data_dir"]) == ("smoke", "/a b/c")


def test_a_grid_keeps_its_options_its_space_and_the_code(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(OWN)
    record(tmp_path, str(tmp_path / "own.yaml"), seeds="4", set={"probe.epochs": "50"})
    made = CellStore(tmp_path).read_grid("own")["made"]
    assert made["space"] == OWN
    assert (made["options"]["seeds"], made["options"]["set"]) == ([4], {"probe.epochs": "50"})
    assert made["code"]["curvetune"] == curvetune.__version__
    assert made["code"]["dirty"] in (True, False)
    assert "-dirty" not in str(made["code"]["commit"])


def test_no_secret_is_kept_or_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_API_TOKEN", "very-secret-words")
    text = OWN.replace("base:", "# very-secret-words\nbase:")
    (tmp_path / "own.yaml").write_text(text)
    record(tmp_path, str(tmp_path / "own.yaml"))
    shown(tmp_path, "own", tmp_path / "again.yaml")
    for path in [*(tmp_path / "grids").rglob("*.json"), tmp_path / "again.yaml"]:
        assert "very-secret-words" not in path.read_text()


def test_a_hostile_command_stays_a_comment(tmp_path: Path) -> None:
    cells = make_cells()
    write_grid(tmp_path, cells)
    grid = CellStore(tmp_path).read_grid("small") | {"command": "x\nbase: {evil: 1}\r\u2028y"}
    values = yaml.safe_load(again(grid))
    assert {*values} == {"name", "resolved", "base", "grid"}
