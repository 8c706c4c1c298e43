"""`curvetune bundle`: what is in it, and that it is the same whenever and wherever it is made."""

import json
from pathlib import Path
from typing import Any

import pytest
from bundled import GRID, PLUGIN, bundle, inside, run, small_bundle, small_grid
from storage_fixtures import DIGEST, fail, finish, make_cells, write_grid

from curvetune.bundles.environment import constraints
from curvetune.bundles.make import Wanted, make_bundle
from curvetune.errors import ConfigError, StorageError
from curvetune.planning.space import load_space
from curvetune.plugins.load import load_plugins
from curvetune.store import CellStore
from curvetune.store.relabels import relabel_content, write_relabel


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of a small grid."""
    return small_bundle(tmp_path_factory.mktemp("bundle"))


def test_a_bundle_has_all_that_a_reader_needs_to_repeat_the_grid(
    whole: Path, tmp_path: Path
) -> None:
    files = inside(whole)
    for name in ("ma", "seeds", "cells", "classes", "significance", "report", "published"):
        assert {f"tables/{name}.{end}" for end in ("csv", "md", "tex")} <= files.keys()
    assert {"README.md", "space.yaml", "constraints.txt", "references.bib"} <= files.keys()
    assert "figures/small-settings.svg" in files
    about = json.loads(files["bundle.json"])
    assert (about["cells"], about["cells_done"], about["seeds"]) == (8, 8, [0, 1])
    assert about["data"]["digest"] == DIGEST
    assert about["made_with"]["devices"] == {"cpu": 8}
    assert {path for path in files if path.startswith("storage/probes/")}
    assert b"@inproceedings{jiang2022curvenet," in files["references.bib"]
    (tmp_path / "space.yaml").write_bytes(files["space.yaml"])
    space = load_space(str(tmp_path / "space.yaml"))
    cells = make_cells(imbalances=(1, 10), noise_rates=(0.4,))
    assert {c.cell_id(DIGEST) for c in space.cells} == {c.cell_id(DIGEST) for c in cells}


def test_the_readme_tells_what_came_out_and_how_to_check_and_repeat_it(whole: Path) -> None:
    text = inside(whole)["README.md"].decode()
    assert "| curvenet | **64.00 ± 1.41** | 4/4 |" in text
    for command in (
        "curvetune verify small.zip",
        "curvetune import small.zip --storage results",
        "curvetune grid space.yaml --storage anew",
    ):
        assert command in text
    assert f"`{DIGEST}`" in text
    assert f"commit `{'c' * 40}`" in text


def test_the_same_grid_gives_the_same_bytes(tmp_path: Path) -> None:
    small_grid(tmp_path / "from")
    first = bundle(tmp_path / "from", tmp_path / "a.zip")
    second = bundle(tmp_path / "from", tmp_path / "b.zip")
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    assert first.sha256 == second.sha256


def test_no_place_of_the_machine_is_in_a_bundle(tmp_path: Path) -> None:
    root = tmp_path / "from"
    cells = small_grid(root)
    fail(root, cells[0], f"OSError: {tmp_path}/images")
    entries = CellStore(root).read_grid(GRID)["cells"]
    options = {"space": f"{tmp_path}/mine.yaml", "plugins": [f"{tmp_path}/mine.py"]}
    made = {"data_dir": f"{tmp_path}/images", "on_bad": "fail", "options": options}
    command = f"curvetune grid {tmp_path}/mine.yaml --data-dir={tmp_path}/images --seeds 0"
    record = {"cells": entries, "command": command, "data_digest": DIGEST, "made": made}
    CellStore(root).write_grid(GRID, record)
    bundle(root, tmp_path / "out.zip")
    files = inside(tmp_path / "out.zip")
    assert [name for name, content in files.items() if str(tmp_path).encode() in content] == []
    assert b"curvetune grid mine.yaml --data-dir=images --seeds 0" in files["README.md"]


def test_a_damaged_probe_is_left_out_and_said_without_its_place(tmp_path: Path) -> None:
    root = tmp_path / "from"
    small_grid(root)
    curves = sorted((root / "probes").glob("*/curves.npy"))[0]
    curves.write_bytes(b"damaged")
    done = run("bundle", GRID, tmp_path / "out.zip", "--storage", root)
    note = f"probe {curves.parent.name} is left out: probes/{curves.parent.name}/curves.npy: its"
    assert note in done.stderr
    files = inside(tmp_path / "out.zip")
    assert note in files["README.md"].decode()
    assert [name for name, content in files.items() if str(tmp_path).encode() in content] == []
    assert "grid small: 8 of 8 cells, 3 probes" in run("verify", tmp_path / "out.zip").stdout


def test_a_grid_with_missing_cells_is_bundled_and_they_are_named(tmp_path: Path) -> None:
    cells = small_grid(tmp_path, lacking=2)
    fail(tmp_path, cells[-1])
    done = run("bundle", GRID, tmp_path / "out.zip", "--storage", tmp_path)
    assert done.code == 0
    assert "small: 6 of 8 cells" in done.stderr
    assert "2 of its cells have no result yet; the README lists them" in done.stderr
    files = inside(tmp_path / "out.zip")
    lacking = [cell.cell_id(DIGEST) for cell in cells[-2:]]
    assert json.loads(files["bundle.json"])["lacking"] == lacking
    text = files["README.md"].decode()
    assert f"({lacking[0]}): waiting" in text
    assert f"({lacking[1]}): failed" in text
    verified = run("verify", tmp_path / "out.zip")
    assert "grid small: 6 of 8 cells, 3 probes" in verified.stdout


def test_a_grid_without_finished_cells_is_refused(tmp_path: Path) -> None:
    write_grid(tmp_path, make_cells())
    with pytest.raises(ConfigError, match=r"none of its 16 cells is done.*curvetune status small"):
        bundle(tmp_path, tmp_path / "out.zip")
    with pytest.raises(ConfigError, match="unknown grid 'smal'"):
        bundle(tmp_path, tmp_path / "out.zip", grid="smal")
    assert not (tmp_path / "out.zip").exists()


def test_a_file_that_is_there_is_not_written_over(tmp_path: Path) -> None:
    small_grid(tmp_path)
    (tmp_path / "out.zip").write_text("mine")
    with pytest.raises(ConfigError, match=r"out\.zip: it is there already"):
        bundle(tmp_path, tmp_path / "out.zip")
    assert (tmp_path / "out.zip").read_text() == "mine"
    with pytest.raises(StorageError, match=r"its folder .* cannot be written"):
        bundle(tmp_path, tmp_path / "out.zip" / "x.zip")
    with pytest.raises(StorageError, match=r"nowhere cannot be written \(No such file"):
        bundle(tmp_path, tmp_path / "nowhere" / "x.zip")
    assert sorted(p.name for p in tmp_path.glob("*.zip*")) == ["out.zip"]


def test_curves_and_classifiers_can_be_left_out_and_sizes_are_said_before(tmp_path: Path) -> None:
    small_grid(tmp_path)
    said: list[str] = []
    make_bundle(tmp_path, GRID, tmp_path / "all.zip", Wanted(), said.append)
    assert "4 probes" in said[0]
    assert "loss curves" in said[0]
    wanted = Wanted(curves=False, models=False)
    make_bundle(tmp_path, GRID, tmp_path / "few.zip", wanted, said.append)
    assert "probes" not in said[1]
    files = inside(tmp_path / "few.zip")
    assert not [path for path in files if "probes/" in path or path.endswith("model.safetensors")]
    assert "storage/probes/" in " ".join(inside(tmp_path / "all.zip"))
    assert run("verify", tmp_path / "few.zip").code == 0


def with_plugin(root: Path, folder: Path) -> Path:
    """A storage with a grid of a plugin's method, which its record says is in `folder`."""
    (folder / "mine.py").write_text(PLUGIN)
    load_plugins([str(folder / "mine.py")])
    cells = make_cells([{"name": "mine"}, {"name": "focal"}], (1,), (0.4,), (0,))
    write_grid(root, cells)
    for k, cell in enumerate(cells):
        finish(root, cell, 50.0 + k)
    record = CellStore(root).read_grid(GRID)
    made = {"options": {"space": "digits", "plugins": [str(folder / "mine.py")]}}
    kept: dict[str, Any] = {key: record[key] for key in ("cells", "command", "data_digest")}
    CellStore(root).write_grid(GRID, {**kept, "made": made})
    return root


def test_the_source_of_a_plugin_is_found_where_the_grid_had_it(tmp_path: Path) -> None:
    bundle(with_plugin(tmp_path, tmp_path), tmp_path / "out.zip")
    files = inside(tmp_path / "out.zip")
    assert files["plugins/mine.py"].decode() == PLUGIN
    assert "--plugin plugins/mine.py" in files["README.md"].decode()
    assert "% mine: its plugin says where it is from" in files["references.bib"].decode()


def test_a_plugin_that_was_edited_since_is_missed_and_another_is_refused(tmp_path: Path) -> None:
    root = with_plugin(tmp_path, tmp_path)
    (tmp_path / "mine.py").write_text(PLUGIN + "# edited\n")
    done = run("bundle", GRID, tmp_path / "out.zip", "--storage", root)
    assert done.code == 0
    assert "plugin mine 1 (source" in done.stderr
    assert "its source is not here; give it with --plugin" in done.stderr
    assert "plugins/ lacks plugin mine 1" in inside(tmp_path / "out.zip")["README.md"].decode()
    with pytest.raises(ConfigError, match=r"--plugin .*mine\.py: it is plugin mine 1 .*needs"):
        bundle(root, tmp_path / "two.zip", plugins=[str(tmp_path / "mine.py")])
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "mine.py").write_text(PLUGIN)
    bundle(root, tmp_path / "two.zip", plugins=[str(kept / "mine.py")])
    assert inside(tmp_path / "two.zip")["plugins/mine.py"].decode() == PLUGIN


def test_corrected_labels_go_with_the_cells_that_are_about_them(tmp_path: Path) -> None:
    content = relabel_content({3: 1}, ["cat", "dog"], DIGEST)
    digest = write_relabel(tmp_path, content)
    cells = make_cells(noise_rates=(0.4,), data={"name": "digits", "relabel": digest})
    write_grid(tmp_path, cells)
    finish(tmp_path, cells[0], 50.0)
    bundle(tmp_path, tmp_path / "out.zip")
    assert inside(tmp_path / "out.zip")[f"storage/relabels/{digest}.csv"] == content


def test_constraints_are_of_every_package_that_curvetune_needs() -> None:
    lines = constraints().splitlines()
    names = {line.partition("==")[0] for line in lines if not line.startswith("#")}
    assert {"torch", "ray", "mlflow", "numpy", "pyarrow", "fsspec"} <= names  # ray[tune]'s too
    assert not {"curvetune", "pytest", "ruff"} & names
    assert not [line for line in lines if "+" in line]
