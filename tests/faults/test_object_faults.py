"""F1, F5, F6, F11, F16 for a storage in an object store: a real S3 server, and real processes."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import grids
import pytest
from object_server import KEYS, Store, downloaded, needs_server, raw, s3_port, store
from test_publish import CELL, execute, is_whole

from curvetune.store import open_storage

__all__ = ["s3_port", "store"]
pytestmark = [pytest.mark.faults, pytest.mark.slow, needs_server]
POINTS = [
    f"{step}:{name}"
    for name in ("checkpoint.safetensors", "model.safetensors", "DONE.json", "manifest.json")
    for step in ("written", "put", "renamed")
]
RUN = f"""
import sys
import torch
from curvetune import data
from curvetune.cell import run_cell
from curvetune.config import CellConfig
from curvetune.store import open_storage
torch.set_num_threads(1)
run_cell(CellConfig.model_validate_json({CELL.model_dump_json()!r}), data.digest("digits"),
         data.load("digits"), open_storage(sys.argv[1]), device=torch.device("cpu"),
         checkpoint_every=2)
"""


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    storage = tmp_path_factory.mktemp("straight")
    execute(storage)
    return storage


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same grid in a folder."""
    folder = tmp_path_factory.mktemp("undisturbed")
    process = grids.start(grids.write_space(folder), folder / "results")
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output
    return folder / "results"


@pytest.mark.parametrize("point", POINTS)
def test_f5_a_kill_at_any_step_of_publication_heals_on_another_machine(
    straight: Path, store: Store, tmp_path: Path, point: str
) -> None:
    env = {**os.environ, "CURVETUNE_FAILPOINT": point}
    killed = subprocess.run([sys.executable, "-c", RUN, store.url], env=env, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert is_whole(downloaded(store, tmp_path / "killed"))
    store.on_machine("another")
    execute(open_storage(store.url))
    after = downloaded(store, tmp_path / "after")
    assert grids.contents(after) == grids.contents(straight)
    assert is_whole(after)


def test_f11_an_object_that_changed_is_never_used(
    straight: Path, store: Store, tmp_path: Path
) -> None:
    execute(open_storage(store.url))
    names = ("DONE.json", "model", "samples", "curves.npy", "manifest.json", "history.jsonl")
    draw = random.Random(0)
    for k, name in enumerate(names * 2):
        key = draw.choice([key for key in store.objects() if name in key])
        content = bytearray(raw(store, "GET", key))
        at = draw.randrange(len(content))
        content[at] ^= 1 << draw.randrange(8)
        raw(store, "PUT", key, bytes(content if k % 2 else content[:at]))
        if "probes" in key:  # which are read for cells that are not done
            for done in [other for other in store.objects() if other.endswith("DONE.json")]:
                raw(store, "DELETE", done)
        store.on_machine(f"machine-{k}")
        execute(open_storage(store.url))
        after = downloaded(store, tmp_path / f"after-{k}")
        assert is_whole(after), key
        done = {n: c for n, c in grids.contents(after).items() if n.startswith("cells")}
        expected = {n: c for n, c in grids.contents(straight).items() if n.startswith("cells")}
        assert done == expected, key


@pytest.mark.ray
@pytest.mark.parametrize("k", range(3))
def test_f1_f16_a_grid_killed_at_random_goes_on_elsewhere_and_no_file_has_a_secret(
    undisturbed: Path, store: Store, tmp_path: Path, k: int
) -> None:
    space, draw = grids.write_space(tmp_path), random.Random(k)
    first = grids.start(space, store.url)  # type: ignore[arg-type]
    while first.poll() is None and not store.objects("results/probes"):
        time.sleep(0.2)
    time.sleep(draw.uniform(0.0, 12.0))
    ended = first.poll()
    killed = grids.kill_tree(first.pid)
    said, _ = first.communicate()
    assert ended is None, said
    assert killed > 1, said
    store.on_machine("another")
    second = grids.start(space, store.url)  # type: ignore[arg-type]
    output, _ = second.communicate(timeout=300)
    assert second.returncode == 0, output
    after = downloaded(store, tmp_path / "after")
    assert is_whole(after)
    assert grids.contents(after) == grids.contents(undisturbed)
    assert grids.starts(after) <= grids.CELLS + 2
    written = [output.encode(), *(p.read_bytes() for p in tmp_path.rglob("*") if p.is_file())]
    assert any((tmp_path / "another").glob("*/cells/*/DONE.json"))
    assert not any(secret.encode() in content for content in written for secret in KEYS.values())


@pytest.mark.ray
def test_f6_two_submitters_on_two_machines_compute_each_cell_once(
    undisturbed: Path, store: Store, tmp_path: Path
) -> None:
    space = grids.write_space(tmp_path)
    both = []
    for name in ("one", "two"):
        store.on_machine(name)
        both.append(grids.start(space, store.url, slots=1))  # type: ignore[arg-type]
    outputs = [process.communicate(timeout=400)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    after = downloaded(store, tmp_path / "after")
    assert grids.contents(after) == grids.contents(undisturbed)
    assert is_whole(after)
    lines = [len(path.read_text().splitlines()) for path in after.glob("*/*/history.jsonl")]
    assert lines == [grids.EPOCHS] * (grids.CELLS + grids.PROBES)
