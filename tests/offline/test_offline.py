"""Slices of a run: what is stopped, carried away and gone on with ends as if nothing had been."""

import contextlib
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from curvetune import data
from curvetune.cell import run_cell
from curvetune.errors import ConfigError, CorruptError, CurvetuneError, StoppedError
from curvetune.offline import command, pack, slices, unpack, workers
from curvetune.offline.run import make_plan
from curvetune.planning.plan import Plan
from curvetune.planning.selection import Selection, selected_space
from curvetune.report.tables.main import report_json
from curvetune.store import CellStore, CurveStore
from curvetune.store.cells import RESULT_FILES

DIGEST = data.digest("digits")
SPACE = """
base:
  data: {name: digits, per_class_limit: 30, test_limit: 100}
  bias: {noise_rate: 0.4}
  model: {name: resnet8}
  probe: {epochs: 4, cyclic_start: 2, half_period: 1, batch_size: 50, cyclic_batch_size: 25}
  allocate: {epochs: 4, milestones: [2], warmup: 0, batch_size: 50}
grid:
  method:
    - {name: curvenet, meta_batch_size: 20, removed_losses: 1}
    - {name: cross-entropy}
"""


@pytest.fixture
def space(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(SPACE)
    return path


def plan_in(storage: Path, space: Path, *methods: str, **fixed: str) -> Plan:
    selection = Selection(str(space), methods, (), "release", fixed)
    return make_plan(selected_space(selection), DIGEST, storage, "")


def load() -> data.Dataset:
    return data.load("digits")


def ignore(*_: Any) -> None:
    pass


def after(count: int) -> tuple[Callable[[Any], None], Callable[[], bool]]:
    """Return a listener and a stop that says so once it has heard of so many epochs."""
    heard: list[Any] = []
    return (
        lambda event: heard.append(event) if "epoch" in event else None,
        lambda: len(heard) >= count,
    )


def run_here(plan: Plan, storage: Path, *, epochs: int = 99) -> None:
    """Run what is left of a plan in this process, each cell for so many epochs at most."""
    for cell in plan.left:
        on_event, stop = after(epochs)
        options: dict[str, Any] = {"device": torch.device("cpu"), "checkpoint_every": 50}
        with contextlib.suppress(StoppedError):
            run_cell(cell.config, DIGEST, load(), storage, on_event=on_event, stop=stop, **options)


def slice_here(plan: Plan, storage: Path, max_epochs: int) -> list[workers.Message]:
    """Do in this process what a worker does in a slice; return what it tells."""
    given = [load(), *(cell.config for cell in plan.left), None]
    told: list[workers.Message] = []
    pipe: Any = SimpleNamespace(recv=lambda: given.pop(0), send=told.append)
    slice_ = workers.Slice(storage, DIGEST, checkpoint_every=50, max_epochs=max_epochs)
    workers.serve(pipe, slice_, lambda: False)
    return told


def numbers(storage: Path, plan: Plan) -> dict[str, Any]:
    """Return all that cells leave behind, without times and what the run was made with."""
    found: dict[str, Any] = {}
    for cell in plan.cells:
        folder = CellStore(storage).folder(cell.cell_id)
        for name in ("model.safetensors", "samples.safetensors"):
            found[f"{cell.cell_id} {name}"] = (folder / name).read_bytes()
        rows = CellStore(storage).history(cell.cell_id)
        found[f"{cell.cell_id} rows"] = [{**row, "time": 0, "seconds": 0} for row in rows]
        done = CellStore(storage).result(cell.cell_id) or {}
        keys = ("accuracy", "accuracy_last10", "accuracy_best", "per_class_accuracy", "weight_gap")
        found[f"{cell.cell_id} result"] = {key: done.get(key) for key in keys}
        if cell.probe_id is not None:
            for name in ("curves.npy", "margins.npy"):
                path = CurveStore(storage).folder(cell.probe_id) / name
                found[f"{cell.probe_id} {name}"] = path.read_bytes()
    return found


def test_a_run_that_stops_twice_and_is_carried_away_each_time_ends_bit_for_bit_as_another(
    tmp_path: Path, space: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    straight = tmp_path / "straight"
    run_here(plan_in(straight, space), straight)

    first, second, third = (tmp_path / name for name in ("first", "second", "third"))
    (stopped, *_) = slice_here(plan_in(first, space), first, max_epochs=3)
    assert "stopped after 3 of 4 epochs" in stopped[2]  # of the probe
    pack.pack(first, tmp_path / "pack")
    unpack.unpack(tmp_path / "pack", second)
    (_, stopped, *_) = slice_here(plan_in(second, space), second, max_epochs=3)
    assert "stopped after 2 of 4 epochs" in stopped[2]  # of CurveNet
    pack.pack(second, tmp_path / "pack")

    line = ["run", str(space), "--storage", str(third), "--workers", "2", "--commit", "c0ffee"]
    assert command.main([*line, "--unpack", str(tmp_path / "pack")]) == 0
    assert "2 of 2 cells are done, 2 of them now" in capsys.readouterr().out
    plan = plan_in(third, space)
    assert numbers(third, plan) == numbers(straight, plan)
    lines = [json.loads(line) for line in (third / "results.jsonl").read_text().splitlines()]
    assert {line["cell_id"] for line in lines} == {cell.cell_id for cell in plan.cells}
    for line in lines:
        done = CellStore(third).result(line["cell_id"]) or {}
        assert line == {key: value for key, value in done.items() if key != "files"} | {
            "config": line["config"],
            "data_digest": DIGEST,
        }
        assert (line["workers"], line["commit"]) == (2, "c0ffee")
        assert (line["seconds"]["probe"] > 0) == (line["probe_id"] is not None)


def test_a_slice_ends_within_its_time_and_leaves_the_rest_for_the_next(
    tmp_path: Path, space: Path
) -> None:
    started = time.monotonic()
    line = ["run", str(space), "--storage", str(tmp_path / "s"), "--set", "allocate.epochs=5000"]
    code = command.main([*line, "--set", "probe.epochs=5000", "--minutes", "0.1"])
    assert code == command.TIME_IS_UP
    assert time.monotonic() - started < 6 + 10  # 10 s: others use this machine as well
    assert multiprocessing.active_children() == []


def test_a_cell_is_stopped_where_its_next_epoch_might_come_too_late() -> None:
    now, asked = [100.0], [False]
    slice_ = workers.Slice(Path(), "", started=0.0, deadline=110.0)
    limit = workers.Limit(slice_, lambda: asked[0], clock=lambda: now[0])
    assert not limit()
    limit.heard({"stage": "probe", "epoch": 0, "seconds": 4.0})
    now[0] = 103.9
    assert not limit()
    now[0] = 104.1  # 1.5 times 4 s would end after 110
    assert limit()
    now[0], asked[0] = 100.0, True
    assert limit()


def test_a_signal_stops_every_cell_with_its_checkpoint(tmp_path: Path, space: Path) -> None:
    storage, said = tmp_path / "s", []
    before = signal.getsignal(signal.SIGTERM)
    plan = plan_in(storage, space, **{"probe.epochs": "5000"})

    def say(what: str, cell: Any) -> None:
        said.append(what)
        if what == "started":
            os.kill(os.getpid(), signal.SIGTERM)

    tally = slices.run_slice(plan, load, workers.Slice(storage, DIGEST), say)
    assert list(tally.stopped) == [plan.cells[0].cell_id]
    assert said[0] == "started"
    assert "stopped after 0 of 5000 epochs" in said[1]
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_process_that_dies_fails_its_cell_and_is_told(tmp_path: Path, space: Path) -> None:
    storage = tmp_path / "s"
    plan = plan_in(storage, space)

    def say(what: str, cell: Any) -> None:
        for process in multiprocessing.active_children():
            process.kill()

    with pytest.raises(CurvetuneError, match="all worker processes died"):
        slices.run_slice(plan, load, workers.Slice(storage, DIGEST), say)
    failure = CellStore(storage).failure(plan.cells[0].cell_id) or {}
    assert "exit code -9" in failure["error"]


def test_lines_become_results_of_another_storage_that_report_shows(
    tmp_path: Path, space: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    plan = plan_in(here, space)
    run_here(plan, here)
    assert command.main(["run", str(space), "--storage", str(here)]) == 0  # only writes the lines
    (first, second) = (here / "results.jsonl").read_text().splitlines(keepends=True)
    lines = tmp_path / "lines.jsonl"
    lines.write_text(first)
    line = ["import", str(lines), str(space), "--storage", str(there)]
    assert command.main(line) == 0
    states = {cell["cell_id"]: cell["state"] for cell in report_json(there, "tiny")["cells"]}
    assert sorted(states.values()) == ["done", "waiting"]
    lines.write_text(first + second)
    assert command.main(line) == 0
    assert "1 of 2 results are new" in capsys.readouterr().out
    shown, expected = report_json(there, "tiny"), report_json(here, "tiny")
    assert (shown["cells"], shown["methods"]) == (expected["cells"], expected["methods"])
    assert command.main(["import", str(lines), str(space), "--storage", str(here)]) == 0
    done = CellStore(here).result(plan.cells[0].cell_id) or {}
    assert set(done["files"]) == set(RESULT_FILES)  # what was computed here is kept


def test_a_line_that_was_changed_is_refused(
    tmp_path: Path, space: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = plan_in(tmp_path, space)
    run_here(plan, tmp_path)
    assert command.main(["run", str(space), "--storage", str(tmp_path)]) == 0
    lines = tmp_path / "results.jsonl"
    line = json.loads(lines.read_text().splitlines()[0])
    line["config"]["seed"] = 7
    for text in (json.dumps(line), '{"cell_id": "torn'):
        lines.write_text(text)
        line = ["import", str(lines), str(space), "--storage", str(tmp_path / "other")]
        assert command.main(line) == 2
        assert "line 1" in capsys.readouterr().err


@pytest.mark.parametrize("epochs", [2, 6])  # in the probe; in CurveNet, which reads its curves
def test_curves_that_do_not_fit_are_rounded_and_every_result_says_so(
    tmp_path: Path, space: Path, epochs: int
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    plan = plan_in(here, space, "curvenet")
    run_here(plan, here, epochs=epochs)
    size = sum(item.bytes for item in pack.worth_carrying(here))
    exact = pack.pack(here, tmp_path / "pack", size)
    assert "rounded to 16 bits: none; left behind: nothing" in exact
    rounded = pack.pack(here, tmp_path / "pack", size - 1)
    assert "left behind: nothing" in rounded
    assert f"rounded to 16 bits: probes/{plan.cells[0].probe_id}" in rounded
    unpack.unpack(tmp_path / "pack", there)
    run_here(plan_in(there, space, "curvenet"), there)
    probe_id, cell_id = plan.cells[0].probe_id or "", plan.cells[0].cell_id
    carried = min(epochs, 4)  # epochs of the probe that were
    mark = {"to": "float16", "epochs": carried}
    assert CurveStore(there).manifest(probe_id)["rounded"] == mark
    assert (CellStore(there).result(cell_id) or {})["rounded_curves"] == mark
    run_here(plan_in(here, space, "curvenet"), here)
    assert "rounded_curves" not in (CellStore(here).result(cell_id) or {})
    true, found = (CurveStore(root).read(probe_id) for root in (here, there))
    assert np.array_equal(found[:, :carried], true[:, :carried].astype(np.float16))
    assert np.array_equal(found[:, carried:], true[:, carried:])
    margins = [CurveStore(root).margins(probe_id) for root in (here, there)]
    assert margins[0] is not None
    assert margins[1] is not None
    assert margins[0].tobytes() == margins[1].tobytes()  # in 16 bits anyhow


def item(name: str, size: int, *, seconds: float = 0.0, curves: int = 0) -> pack.Item:
    return pack.Item(name, (), size, seconds, curves, optional=seconds > 0)


def test_curves_are_rounded_before_work_is_left_behind_and_no_more_than_needed() -> None:
    items = [
        item("results", 10),
        item("small", 25, seconds=9, curves=20),
        item("large", 65, seconds=5, curves=60),
    ]

    def packed(limit: int) -> list[tuple[str, bool]]:
        return [(chosen.folder, chosen.rounded) for chosen in pack.fit(items, limit)]

    assert packed(100) == [("results", False), ("small", False), ("large", False)]
    assert packed(99) == packed(70) == [("results", False), ("small", False), ("large", True)]
    assert packed(69) == packed(60) == [("results", False), ("small", True), ("large", True)]
    assert packed(59) == packed(35) == [("results", False), ("small", False)]
    assert packed(34) == [("results", False), ("small", True)]
    assert packed(10) == [("results", False)]
    with pytest.raises(ConfigError, match="raise --pack-limit"):
        packed(9)


def test_a_pack_is_cut_into_parts_that_must_all_be_there_and_whole(
    tmp_path: Path, space: Path
) -> None:
    here, file = tmp_path / "here", tmp_path / "parts" / "pack"
    plan = plan_in(here, space)
    run_here(plan, here, epochs=2)
    pack.pack(here, file, part_size=10_000)
    pack.pack(here, file, part_size=40_000)  # replaces the many smaller ones
    parts = sorted(file.parent.iterdir())
    assert len(parts) > 1
    assert all(path.stat().st_size <= 40_000 for path in parts)
    content = parts[0].read_bytes()
    parts[0].write_bytes(content[:20_000] + bytes([content[20_000] ^ 1]) + content[20_001:])
    with pytest.raises(CorruptError, match="damaged"):
        unpack.unpack(file, tmp_path / "there")
    parts[0].unlink()
    with pytest.raises(ConfigError, match="copy all parts"):
        unpack.unpack(file, tmp_path / "there")


def test_a_pack_leaves_what_has_come_further_as_it_is(tmp_path: Path, space: Path) -> None:
    here = tmp_path / "here"
    plan = plan_in(here, space)
    run_here(plan, here, epochs=2)
    pack.pack(here, tmp_path / "early")
    run_here(plan, here)
    pack.pack(here, tmp_path / "late")
    before = numbers(here, plan)
    unpack.unpack(tmp_path / "early", here)
    unpack.unpack(tmp_path / "late", here)
    assert numbers(here, plan) == before
    unpack.unpack(tmp_path / "early", tmp_path / "there")
    unpack.unpack(tmp_path / "late", tmp_path / "there")
    done = [CellStore(tmp_path / "there").result(cell.cell_id) for cell in plan.cells]
    assert [set((result or {})["files"]) for result in done] == [{*pack.KEPT}] * 2
    assert list((tmp_path / "there").rglob("checkpoint.safetensors")) == [
        CurveStore(tmp_path / "there").folder(plan.cells[0].probe_id or "")
        / "checkpoint.safetensors"
    ]  # of the probe, which the later pack has no use for


def test_nothing_but_the_training_core_is_imported(tmp_path: Path, space: Path) -> None:
    """A worker's whole life, in a process of its own: its imports, a cell, its end."""
    code = f"""
import sys
from pathlib import Path
from curvetune import data
from curvetune.offline import command, workers
from curvetune.offline.run import make_plan
from curvetune.planning.selection import Selection, selected_space
storage = Path({str(tmp_path / "s")!r})
space = selected_space(Selection({str(space)!r}, (), (), "release", {{}}))
plan = make_plan(space, {DIGEST!r}, storage, "")
class Pipe:
    told = []
    given = [data.load("digits"), plan.cells[0].config, None]
    def recv(self): return self.given.pop(0)
    def send(self, message): self.told.append(message[0])
workers.serve(Pipe(), workers.Slice(storage, {DIGEST!r}), lambda: False)
assert Pipe.told == ["stored", "done"], Pipe.told
heavy = {{"ray", "mlflow", "typer", "rich", "polars", "sklearn", "scipy", "torchvision",
         "pydantic_settings", "pandas", "matplotlib"}}
print(sorted(heavy & set(sys.modules)))
"""
    command = [sys.executable, "-W", "ignore", "-c", code]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert answer.stdout.strip() == "[]", answer.stderr
