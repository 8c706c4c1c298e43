"""Stand-ins for `curvetune.cell.run_cell`: no training, but the same order of events and files.

What a cell does beyond that is in `<storage>/behave.json`, as {cell_id: word}:
`fail` before its curves are stored, `die` (its process, once) and then `meet`, `meet` (wait until
four cells do so at once), `sleep` for long but hear when asked to stop, `hang` and hear nothing,
`die-with-node` (say where it runs and wait for the end of that, once).
"""

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import ray

from curvetune.config import CellConfig
from curvetune.errors import StoppedError
from curvetune.store import CellStore, CurveStore
from curvetune.store.lease import leased

PROBE_S, ALLOCATE_S = 0.5, 0.3


def run_cell(
    cell: CellConfig,
    digest: str,
    dataset: Any,
    storage: Path,
    *,
    device: Any,
    checkpoint_every: int,
    on_event: Callable[[dict[str, Any]], None],
    read_curves: Callable[[str], Any],
    stop: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:
    store, cell_id = CellStore(storage), cell.cell_id(digest)
    with leased(store.folder(cell_id)):
        if (done := store.result(cell_id)) is not None:
            return done
        return _run_cell(cell, digest, dataset, storage, device, on_event, read_curves, stop)


def _run_cell(
    cell: CellConfig,
    digest: str,
    dataset: Any,
    storage: Path,
    device: Any,
    on_event: Callable[[dict[str, Any]], None],
    read_curves: Callable[[str], Any],
    stop: Callable[[], bool],
) -> dict[str, Any]:
    cell_id, probe_id = cell.cell_id(digest), cell.probe_id(digest)
    row: dict[str, Any] = {
        "cell_id": cell_id,
        "probe_id": probe_id,
        "start": time.time(),
        "gpus": ray.get_gpu_ids(),
        "pid": os.getpid(),
        "device": str(device),
        "dataset": float(np.sum(dataset)),
        "stored_at_start": probe_id is not None and CurveStore(storage).has(probe_id),
    }
    behave(storage, cell_id, stop)
    if probe_id is not None:
        if not CurveStore(storage).has(probe_id):
            time.sleep(PROBE_S)
            on_event({"stage": "probe", "epoch": 0})
            curves = np.arange(12, dtype=np.float32).reshape(4, 3)
            CurveStore(storage).write(probe_id, curves, {})
        on_event({"stage": "stored", "probe_id": probe_id})
        curves = read_curves(probe_id)
        row |= {"sum": float(curves.sum()), "writeable": bool(curves.flags.writeable)}
    time.sleep(ALLOCATE_S)
    return finish(storage, cell, cell_id, row)


def behave(storage: Path, cell_id: str, stop: Callable[[], bool]) -> None:  # noqa: C901
    path = storage / "behave.json"
    word = json.loads(path.read_text()).get(cell_id) if path.exists() else None
    if word == "fail":
        raise RuntimeError("no luck\nin two lines")
    if word == "sleep":
        (storage / f"asleep-{cell_id}").touch()
        while not stop():
            time.sleep(0.05)
        raise StoppedError("stopped, as asked")
    if word == "die-with-node":
        mark = storage / f"node-of-{cell_id}"
        if not mark.exists():
            mark.write_text(ray.get_runtime_context().get_node_id())
            time.sleep(600)
    if word == "hang":
        (storage / f"asleep-{cell_id}").touch()
        time.sleep(600)
    if word == "die" and not (storage / f"died-{cell_id}").exists():
        (storage / f"died-{cell_id}").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if word in ("die", "meet"):
        meet(storage, cell_id)


def meet(storage: Path, cell_id: str) -> None:
    (storage / f"met-{cell_id}").touch()
    deadline = time.time() + 60
    while len(list(storage.glob("met-*"))) < 4:
        if time.time() > deadline:
            raise TimeoutError("the others never came")
        time.sleep(0.05)


def finish(storage: Path, cell: CellConfig, cell_id: str, row: dict[str, Any]) -> dict[str, Any]:
    store = CellStore(storage)
    folder = store.folder(cell_id)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(cell.model_dump_json())
    for name in ("history.jsonl", "model.safetensors", "samples.safetensors"):
        (folder / name).touch()
    row["end"] = time.time()
    with (storage / "log.jsonl").open("a") as file:
        file.write(json.dumps(row) + "\n")
    return store.publish(cell_id, {"accuracy": 0.5})


def run_cell_killed_once(
    cell: CellConfig,
    *positional: Any,
    on_event: Callable[[dict[str, Any]], None],
    **named: Any,
) -> dict[str, Any]:
    """Run a real cell; kill the process in its final training, once."""
    from curvetune import cell as real

    storage = positional[-1]

    def hear(event: dict[str, Any]) -> None:
        if event["stage"] == "allocate":
            with (storage / "epochs.txt").open("a") as file:
                file.write(f"{event['epoch']}\n")
            if event["epoch"] == 5 and not (storage / "killed").exists():
                (storage / "killed").touch()
                os.kill(os.getpid(), signal.SIGKILL)
        on_event(event)

    return real.run_cell(cell, *positional, on_event=hear, **named)


def rows(storage: Path) -> list[dict[str, Any]]:
    """Return what each finished cell wrote down, in the order in which they ended."""
    path = storage / "log.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
