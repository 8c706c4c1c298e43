"""A cell from end to end on real digits: its numbers, its files, and what it does when stopped."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from curvetune import data
from curvetune.cell import run_cell
from curvetune.config import (
    AllocateConfig,
    BiasConfig,
    CellConfig,
    CrossEntropyConfig,
    CurveNetConfig,
    DataConfig,
    ModelConfig,
    MWNetNoiseConfig,
    ProbeConfig,
)
from curvetune.errors import DataError, DivergedError, StoppedError
from curvetune.store import CellStore, CurveStore
from curvetune.store.arrays import load_arrays
from curvetune.training.checkpoint import load_state, save_state
from curvetune.training.split import load_split, prepare_splits

DIGEST = data.digest("digits")
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def digits() -> data.Dataset:
    return data.load("digits")


def small_cell(method: Any = None, **bias: Any) -> CellConfig:
    return CellConfig(
        data=DataConfig(name="digits", per_class_limit=30, test_limit=100),
        bias=BiasConfig(**({"noise_rate": 0.4} | bias)),
        model=ModelConfig(name="resnet8"),
        probe=ProbeConfig(
            epochs=4, cyclic_start=2, half_period=1, batch_size=50, cyclic_batch_size=25
        ),
        allocate=AllocateConfig(epochs=4, milestones=(2,), warmup=0, batch_size=50),
        method=method or CurveNetConfig(removed_losses=1, meta_batch_size=20),
    )


def run(cell: CellConfig, digits: data.Dataset, storage: Path, **options: Any) -> dict[str, Any]:
    return run_cell(cell, DIGEST, digits, storage, device=CPU, **options)


def files_of(storage: Path, cell: CellConfig) -> dict[str, bytes]:
    """Return what decides the numbers, without the times."""
    folder = CellStore(storage).folder(cell.cell_id(DIGEST))
    names = ("model.safetensors", "samples.safetensors")
    rows = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    numbers = [{k: v for k, v in row.items() if k not in ("time", "seconds")} for row in rows]
    content = {name: (folder / name).read_bytes() for name in names}
    return content | {"history": json.dumps(numbers).encode()}


def test_a_cell_leaves_its_result_its_files_and_its_curves(
    tmp_path: Path, digits: data.Dataset
) -> None:
    cell, events = small_cell(), []
    done = run(cell, digits, tmp_path, on_event=events.append)
    stages = [event["stage"] for event in events]
    assert stages == ["probe"] * 4 + ["stored"] + ["allocate"] * 4
    assert 0 <= done["accuracy"] <= done["accuracy_best"] <= 100
    assert len(done["per_class_accuracy"]) == 10
    assert done["num_samples"] == 300
    assert done["seconds"]["probe"] > 0
    curves = CurveStore(tmp_path).read(cell.probe_id(DIGEST) or "")
    assert curves.shape == (300, 4)
    assert (curves > 0).all()
    samples, _ = load_arrays(CellStore(tmp_path).folder(done["cell_id"]) / "samples.safetensors")
    assert samples["weight"].shape == samples["loss"].shape == (300,)


def test_a_second_run_computes_nothing(tmp_path: Path, digits: data.Dataset) -> None:
    first = run(small_cell(), digits, tmp_path)
    events: list[Any] = []
    assert run(small_cell(), digits, tmp_path, on_event=events.append) == first
    assert events == []


def test_what_differs_only_in_the_allocating_stage_shares_one_probe(
    tmp_path: Path, digits: data.Dataset
) -> None:
    stages: list[str] = []
    for skip_layers in range(4):
        method = CurveNetConfig(removed_losses=1, meta_batch_size=20, skip_layers=skip_layers)
        run(small_cell(method), digits, tmp_path, on_event=lambda e: stages.append(e["stage"]))
    assert stages.count("probe") == 4  # epochs of one probe
    assert len(list((tmp_path / "probes").iterdir())) == 1
    assert len(list((tmp_path / "cells").iterdir())) == 4
    done = [CellStore(tmp_path).result(path.name) for path in (tmp_path / "cells").iterdir()]
    times = [result["seconds"]["probe"] for result in done if result is not None]
    assert sorted(seconds > 0 for seconds in times) == [False, False, False, True]  # counted once


def test_methods_train_on_the_same_labels_and_start_from_the_same_classifier(
    tmp_path: Path, digits: data.Dataset
) -> None:
    run(small_cell(), digits, tmp_path)
    run(small_cell(CrossEntropyConfig()), digits, tmp_path)
    assert len(list((tmp_path / "splits").iterdir())) == 1


@pytest.mark.parametrize(
    "method", [CrossEntropyConfig(), MWNetNoiseConfig(meta_batch_size=20), None]
)
@pytest.mark.parametrize("stop", [("probe", 2), ("allocate", 1), ("allocate", 2)])
def test_a_cell_that_was_stopped_ends_bit_for_bit_where_it_would_have(
    tmp_path: Path, digits: data.Dataset, method: Any, stop: tuple[str, int]
) -> None:
    cell = small_cell(method)

    def die(event: dict[str, Any]) -> None:
        if (event["stage"], event.get("epoch")) == stop:
            raise KeyboardInterrupt

    run(cell, digits, tmp_path / "straight", checkpoint_every=2)
    if stop[0] == "allocate" or cell.method.needs_probe:
        with pytest.raises(KeyboardInterrupt):
            run(cell, digits, tmp_path / "stopped", checkpoint_every=2, on_event=die)
    epochs: list[Any] = []
    run(cell, digits, tmp_path / "stopped", checkpoint_every=2, on_event=epochs.append)
    assert files_of(tmp_path / "straight", cell) == files_of(tmp_path / "stopped", cell)
    if stop == ("probe", 2):
        assert [e["epoch"] for e in epochs if e["stage"] == "probe"] in ([2, 3], [])


@pytest.mark.parametrize("stop", [("probe", 2), ("allocate", 1)])
def test_a_cell_in_16_bits_that_was_stopped_ends_bit_for_bit_where_it_would_have(
    tmp_path: Path, digits: data.Dataset, stop: tuple[str, int]
) -> None:
    network = ModelConfig(name="resnet8", precision="bfloat16-onednn")
    cell = small_cell().model_copy(update={"model": network})

    def die(event: dict[str, Any]) -> None:
        if (event["stage"], event.get("epoch")) == stop:
            raise KeyboardInterrupt

    run(cell, digits, tmp_path / "straight", checkpoint_every=2)
    with pytest.raises(KeyboardInterrupt):
        run(cell, digits, tmp_path / "stopped", checkpoint_every=2, on_event=die)
    run(cell, digits, tmp_path / "stopped", checkpoint_every=2)
    assert files_of(tmp_path / "straight", cell) == files_of(tmp_path / "stopped", cell)


@pytest.mark.parametrize("epochs", [0, 1, 4, 6])  # in all: none, in the probe, just after it, later
def test_a_cell_that_is_asked_to_stop_leaves_a_checkpoint_and_ends_bit_for_bit_the_same(
    tmp_path: Path, digits: data.Dataset, epochs: int
) -> None:
    cell, options = small_cell(), {"checkpoint_every": 50}
    run(cell, digits, tmp_path / "straight", **options)
    before: list[Any] = []
    with pytest.raises(StoppedError, match="run the same command again"):
        run(
            cell,
            digits,
            tmp_path / "stopped",
            on_event=before.append,
            stop=lambda: len([event for event in before if "epoch" in event]) == epochs,
            **options,
        )
    after: list[Any] = []
    done = run(cell, digits, tmp_path / "stopped", on_event=after.append, **options)
    seen = [(event["stage"], event["epoch"]) for event in before + after if "epoch" in event]
    assert seen == [(stage, epoch) for stage in ("probe", "allocate") for epoch in range(4)]
    assert files_of(tmp_path / "straight", cell) == files_of(tmp_path / "stopped", cell)
    assert done["seconds"]["probe"] > 0  # its own, though an earlier try has run it


@pytest.mark.parametrize(("stage", "said"), [("probe", "probe_devices"), ("allocate", "devices")])
def test_a_cell_that_goes_on_on_another_kind_of_device_says_so(
    tmp_path: Path, digits: data.Dataset, stage: str, said: str
) -> None:
    cell = small_cell(CurveNetConfig(removed_losses=0, meta_batch_size=20))
    seen: list[str] = []

    def stop_in(event: dict[str, Any]) -> None:
        seen.append(event["stage"])

    with pytest.raises(StoppedError):
        run(cell, digits, tmp_path, on_event=stop_in, stop=lambda: seen.count(stage) == 2)
    (path,) = tmp_path.glob("*/*/checkpoint.safetensors")
    state = load_state(path)
    here = state["devices"][0]
    save_state(path, {**state, "devices": ["NVIDIA A100"]})  # as if it had begun there
    result = run(cell, digits, tmp_path)
    assert {key: result[key] for key in result if key.endswith("devices")} == {
        said: ["NVIDIA A100", here]
    }
    assert result["device"] == here


def test_a_killed_process_goes_on_from_its_checkpoint(tmp_path: Path, digits: data.Dataset) -> None:
    script = f"""
import os, signal, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from curvetune import data
from curvetune.cell import run_cell
from curvetune.config import CellConfig
def event(e):
    if e["stage"] == "allocate" and e["epoch"] == 2:
        os.kill(os.getpid(), signal.SIGKILL)
cell = CellConfig.model_validate_json({small_cell().model_dump_json()!r})
run_cell(cell, {DIGEST!r}, data.load("digits"), Path({str(tmp_path / "killed")!r}),
         device=torch.device("cpu"), checkpoint_every=1, on_event=event)
"""
    process = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script], env=os.environ, timeout=120, check=False
    )
    assert process.returncode == -signal.SIGKILL
    events: list[Any] = []
    run(small_cell(), digits, tmp_path / "killed", on_event=events.append)
    assert [(e["stage"], e.get("epoch")) for e in events] == [("stored", None), ("allocate", 3)]
    run(small_cell(), digits, tmp_path / "straight")
    assert files_of(tmp_path / "killed", small_cell()) == files_of(
        tmp_path / "straight", small_cell()
    )


def test_damaged_curves_are_recomputed_to_the_same_result_and_said_so(
    tmp_path: Path, digits: data.Dataset, caplog: pytest.LogCaptureFixture
) -> None:
    cell = small_cell()
    run(cell, digits, tmp_path)
    before = files_of(tmp_path, cell)
    path = CurveStore(tmp_path).folder(cell.probe_id(DIGEST) or "") / "curves.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    (CellStore(tmp_path).folder(cell.cell_id(DIGEST)) / "DONE.json").unlink()
    run(cell, digits, tmp_path)
    assert "is recomputed" in caplog.text
    assert files_of(tmp_path, cell) == before


def test_a_damaged_split_is_made_again_the_same(
    tmp_path: Path, digits: data.Dataset, caplog: pytest.LogCaptureFixture
) -> None:
    first = load_split(small_cell(), DIGEST, digits, tmp_path)
    (path,) = (tmp_path / "splits").iterdir()
    path.write_bytes(path.read_bytes()[:-1])
    second = load_split(small_cell(), DIGEST, digits, tmp_path)
    assert "made again" in caplog.text
    assert all(np.array_equal(a, second.arrays()[name]) for name, a in first.arrays().items())


def test_the_variant_without_clean_data_takes_its_meta_set_from_the_training_samples(
    tmp_path: Path, digits: data.Dataset
) -> None:
    method = CurveNetConfig(
        removed_losses=1, meta="low_loss", low_loss_per_class=3, meta_batch_size=20
    )
    done = run(small_cell(method), digits, tmp_path)
    assert done["accuracy"] > 0
    assert done["probe_id"] == small_cell().probe_id(DIGEST)


def test_a_bias_that_leaves_a_class_empty_is_refused_before_anything_runs(
    tmp_path: Path, digits: data.Dataset
) -> None:
    with pytest.raises(DataError, match="imbalance=200"):
        prepare_splits([small_cell(imbalance=200)], DIGEST, digits, tmp_path)


def test_a_diverging_cell_says_so_and_publishes_nothing(
    tmp_path: Path, digits: data.Dataset
) -> None:
    cell = small_cell(CrossEntropyConfig())
    allocate = cell.allocate.model_copy(update={"lr": 1e30})
    with pytest.raises(DivergedError, match="learning rate"):
        run(cell.model_copy(update={"allocate": allocate}), digits, tmp_path)
    assert list((tmp_path / "cells").glob("*/DONE.json")) == []


def test_curvenet_gives_wrong_labels_less_weight_and_beats_cross_entropy_under_noise(
    tmp_path: Path, digits: data.Dataset
) -> None:
    """The method does what the paper says, on 400 images in ten seconds."""
    results = {}
    for method in (CrossEntropyConfig(), CurveNetConfig(removed_losses=2, meta_batch_size=32)):
        cell = CellConfig(
            data=DataConfig(name="digits"),
            bias=BiasConfig(noise_rate=0.4, imbalance=10),
            model=ModelConfig(name="resnet8"),
            probe=ProbeConfig(
                epochs=15, cyclic_start=6, half_period=1, batch_size=32, cyclic_batch_size=16
            ),
            allocate=AllocateConfig(epochs=15, milestones=(9, 12), warmup=1, batch_size=32),
            method=method,
        )
        results[method.name] = run(cell, digits, tmp_path)
    assert results["curvenet"]["weight_gap"] > 0.2
    assert results["curvenet"]["accuracy"] > results["cross-entropy"]["accuracy"] + 3
