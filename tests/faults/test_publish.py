"""F5, F7, F10, F11: what is published is whole and unchanged, or it is not published."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import grids
import pytest
import torch

from curvetune import data
from curvetune.cell import run_cell
from curvetune.config import CellConfig
from curvetune.errors import CorruptError
from curvetune.store import CellStore, CurveStore
from curvetune.training.checkpoint import Checkpoint, load_state

pytestmark = pytest.mark.faults

CELL = CellConfig.model_validate(
    {
        "data": {"name": "digits", "train_limit": 100, "test_limit": 50},
        "bias": {"noise": "symmetric", "noise_rate": 0.4},
        "model": {"name": "resnet8"},
        "probe": {"epochs": 4, "cyclic_start": 2, "half_period": 1, "batch_size": 50},
        "allocate": {"epochs": 4, "batch_size": 50, "milestones": [2], "warmup": 0},
        "method": {"name": "curvenet", "meta_batch_size": 20, "removed_losses": 1},
    }
)
FILES = ("config.json", "history.jsonl", "checkpoint.safetensors", "model.safetensors")
POINTS = [
    f"{step}:{name}"
    for name in (*FILES, "samples.safetensors", "DONE.json", "curves.npy", "manifest.json")
    for step in ("written", "renamed")
]


def execute(storage: Path) -> None:
    run_cell(
        CELL,
        data.digest("digits"),
        data.load("digits"),
        storage,
        device=torch.device("cpu"),
        checkpoint_every=2,
    )


def in_a_fork(storage: Path, failpoint: str) -> int:
    """Run the cell in a copy of this process; return how that ended, as `os.waitpid` does."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.environ["CURVETUNE_FAILPOINT"] = failpoint
            execute(storage)
            code = 0
        finally:
            os._exit(code)
    return os.waitpid(pid, 0)[1]


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    storage = tmp_path_factory.mktemp("straight")
    execute(storage)
    return storage


def is_whole(storage: Path) -> bool:
    """Say whether what is published is as it should be, asked without curvetune's own code."""
    import hashlib

    for path in [*storage.glob("cells/*/DONE.json"), *storage.glob("probes/*/manifest.json")]:
        for name, checksum in json.loads(path.read_text())["files"].items():
            if hashlib.sha256((path.parent / name).read_bytes()).hexdigest() != checksum:
                return False
    return True


@pytest.mark.parametrize("point", POINTS)
def test_f5_a_kill_at_any_step_of_publication_heals(
    straight: Path, tmp_path: Path, point: str
) -> None:
    assert in_a_fork(tmp_path, point) == signal.SIGKILL
    assert is_whole(tmp_path)
    execute(tmp_path)
    assert grids.contents(tmp_path) == grids.contents(straight)
    assert is_whole(tmp_path)


RUN = f"""
import sys, time
from pathlib import Path
import torch
from curvetune import data
from curvetune.cell import run_cell
from curvetune.config import CellConfig
def hear(event):
    print(event["stage"], flush=True)
    time.sleep(0.3)
torch.set_num_threads(1)
run_cell(CellConfig.model_validate_json({CELL.model_dump_json()!r}), data.digest("digits"),
         data.load("digits"), Path(sys.argv[1]), device=torch.device("cpu"), on_event=hear)
"""


def test_f7_a_holder_that_was_frozen_and_taken_over_publishes_nothing_when_it_thaws(
    straight: Path, tmp_path: Path
) -> None:
    env = {**os.environ, "CURVETUNE_LEASE_S": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", RUN, str(tmp_path)]
    frozen = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env
    )
    assert frozen.stdout is not None
    while frozen.stdout.readline().strip() != "allocate":
        pass
    frozen.send_signal(signal.SIGSTOP)
    time.sleep(1.5)
    second = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
    assert second.returncode == 0, second.stderr
    published = {path: path.read_bytes() for path in sorted(tmp_path.glob("*/*/[!l]*.*"))}
    assert published.keys() >= {*tmp_path.glob("cells/*/DONE.json")}
    frozen.send_signal(signal.SIGCONT)
    _, errors = frozen.communicate(timeout=60)
    assert frozen.returncode != 0
    assert "LostLeaseError" in errors
    assert {path: path.read_bytes() for path in sorted(tmp_path.glob("*/*/[!l]*.*"))} == published
    assert grids.contents(tmp_path) == grids.contents(straight)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MB."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(tmp_path)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a tmpfs is not allowed here")
    yield tmp_path
    subprocess.run(["umount", "-l", str(tmp_path)], check=True)


@pytest.mark.ray
@pytest.mark.slow
def test_f10_a_full_disk_is_said_costs_nothing_that_is_done_and_the_grid_goes_on(
    small_disk: Path, space: Path, clean: Path, address: str
) -> None:
    code, output = grids.run(space, small_disk, "--address", address)
    assert code == 5, output
    assert "no space left" in output
    assert "MB" in output
    done = {path: path.read_bytes() for path in grids.results(small_disk)}
    subprocess.run(["mount", "-o", "remount,size=200m", str(small_disk)], check=True)
    code, output = grids.run(space, small_disk, "--address", address)
    assert code == 0, output
    assert {path: path.read_bytes() for path in done} == done
    assert grids.contents(small_disk) == grids.contents(clean)


def damaged(content: bytes, draw: random.Random) -> bytes:
    """Return `content` with one byte changed, or cut off somewhere."""
    place = draw.randrange(len(content))
    if draw.random() < 0.25:
        return content[:place]
    other = draw.choice([byte for byte in range(256) if byte != content[place]])
    return content[:place] + bytes([other]) + content[place + 1 :]


def detected(storage: Path, path: Path, caplog: pytest.LogCaptureFixture) -> bool:
    """Say whether a damaged file is refused, and that said."""
    caplog.clear()
    if path.name == "checkpoint.safetensors":
        return Checkpoint(path, 1).load() is None and "starts over" in caplog.text
    if path.parent.parent.name == "cells":
        found = CellStore(storage).result(path.parent.name)
        return found is None and "will be recomputed" in caplog.text
    try:
        CurveStore(storage).read(path.parent.name)
    except CorruptError as error:
        return str(path.parent) in str(error)
    return False


def test_f11_every_flipped_byte_and_every_cut_is_detected(
    straight: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, figure: Callable[[str], None]
) -> None:
    draw, storage = random.Random(1), tmp_path / "storage"
    shutil.copytree(straight, storage)
    half = tmp_path / "half"
    assert in_a_fork(half, "written:DONE.json") == signal.SIGKILL  # leaves its checkpoint
    checkpoint = storage / "checkpoint.safetensors"
    shutil.copy(next(half.glob("cells/*/checkpoint.safetensors")), checkpoint)
    load_state(checkpoint)
    kinds = [
        next(storage.glob(pattern))
        for pattern in (
            "probes/*/curves.npy",
            "probes/*/manifest.json",
            "probes/*/model.safetensors",
            "cells/*/DONE.json",
            "cells/*/history.jsonl",
            "cells/*/model.safetensors",
            "checkpoint.safetensors",
        )
    ]
    missed = []
    for k in range(200):
        path = kinds[k % len(kinds)]
        whole = path.read_bytes()
        path.write_bytes(damaged(whole, draw))
        if not detected(storage, path, caplog):
            missed.append((path.name, k))
        path.write_bytes(whole)
    figure(f"F11: 200 files damaged, {200 - len(missed)} detected")
    assert missed == []
    checkpoint.unlink()
    assert CellStore(storage).result(CELL.cell_id(data.digest("digits"))) is not None


@pytest.mark.parametrize(
    "pattern",
    ["probes/*/curves.npy", "probes/*/manifest.json", "cells/*/DONE.json", "cells/*/model.*"],
)
def test_f11_what_is_damaged_is_recomputed_to_the_same_bytes(
    straight: Path, tmp_path: Path, pattern: str
) -> None:
    storage = tmp_path / "storage"
    shutil.copytree(straight, storage)
    path = next(storage.glob(pattern))
    path.write_bytes(damaged(path.read_bytes(), random.Random(2)))
    if path.parent.parent.name == "probes":  # it is only read when a cell needs it
        next(storage.glob("cells/*/DONE.json")).unlink()
    execute(storage)
    assert grids.contents(storage) == grids.contents(straight)
