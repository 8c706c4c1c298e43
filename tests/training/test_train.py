"""The loop, the checkpoints, the schedules, the metrics: what every run stands on."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from curvetune.batch import Batch
from curvetune.config import AllocateConfig, ProbeConfig
from curvetune.data import Dataset, Images
from curvetune.data.sets.resident import ResidentSet
from curvetune.errors import CorruptError, DivergedError, StoppedError
from curvetune.store.history import read_rows
from curvetune.training.checkpoint import Checkpoint, load_state, save_state
from curvetune.training.fit import Loop, fit
from curvetune.training.metrics import evaluate, three_accuracies, weight_gap
from curvetune.training.provenance import provenance

CPU = torch.device("cpu")


def tiny_set(size: int = 23) -> ResidentSet:
    x = np.random.default_rng(0).integers(0, 255, (size, 1, 6, 6), dtype=np.uint8)
    y = np.arange(size) % 3
    facts = Dataset(
        "tiny", Images(x, y), Images(x, y), ("a", "b", "c"), (127.0,), (60.0,), 1, False
    )
    return ResidentSet(x, y, facts, CPU)


class Recorder:
    """Notes what it is given; the loss of a sample is its index plus the epoch."""

    def __init__(self, scale: float = 1.0) -> None:
        self.model = nn.Linear(1, 1)
        self.seen: list[tuple[int, list[int]]] = []
        self.meta_sizes: list[int] = []
        self.scale = scale
        self.epoch = 0

    def start_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def step(self, batch: Batch, meta: Batch | None) -> dict[str, Tensor]:
        self.seen.append((self.epoch, batch.index.tolist()))
        if meta is not None:
            self.meta_sizes.append(len(meta.y))
        return {
            "loss": self.scale * (batch.index.float() + self.epoch),
            "meta_loss": torch.tensor(float(len(batch.y))),
        }

    @property
    def state(self) -> Any:
        return self

    def state_dict(self) -> dict[str, Any]:
        return {"seen": copy.deepcopy(self.seen)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.seen = [(epoch, list(index)) for epoch, index in state["seen"]]


def losses(samples: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {"loss": samples["loss"]}


def loop_in(folder: Path, *, epochs: int = 4, every: int = 1, **options: Any) -> Loop:
    return Loop(
        recipe=AllocateConfig(epochs=epochs, batch_size=5),
        train=tiny_set(),
        streams={
            name: torch.Generator().manual_seed(k) for k, name in enumerate(("train", "meta"))
        },
        checkpoint=Checkpoint(folder / "checkpoint.safetensors", every),
        history=folder / "history.jsonl",
        **options,
    )


def test_every_sample_is_seen_once_an_epoch_the_ragged_last_batch_included(tmp_path: Path) -> None:
    method = Recorder()
    made = fit(method, loop_in(tmp_path))
    for epoch in range(4):
        seen = [i for e, index in method.seen if e == epoch for i in index]
        assert sorted(seen) == list(range(23))
    assert [row["epoch"] for row in made.rows] == [0, 1, 2, 3]
    assert made.rows[2]["loss"] == pytest.approx(np.mean(np.arange(23)) + 2)
    assert made.rows[0]["meta_loss"] == pytest.approx(23 / 5)  # a mean over five steps


def test_curves_hold_the_loss_of_each_sample_at_each_epoch(tmp_path: Path) -> None:
    curves = fit(Recorder(), loop_in(tmp_path, record=losses)).recorded["loss"]
    assert torch.equal(curves, torch.arange(23.0)[:, None] + torch.arange(4.0))


def test_every_step_gets_a_full_meta_batch_where_there_is_a_meta_set(tmp_path: Path) -> None:
    method = Recorder()
    fit(method, loop_in(tmp_path, meta=tiny_set(9), meta_batch_size=4))
    assert method.meta_sizes == [4] * 20


def test_a_meta_batch_comes_every_so_many_steps_if_asked_and_first_in_every_epoch(
    tmp_path: Path,
) -> None:
    method = Recorder()
    fit(method, loop_in(tmp_path, meta=tiny_set(9), meta_batch_size=4, meta_every=3))
    assert method.meta_sizes == [4, 4] * 4  # of five steps an epoch, the first and the fourth


@pytest.mark.parametrize("every", [1, 2, 3])
def test_a_killed_run_ends_where_an_uninterrupted_one_does(tmp_path: Path, every: int) -> None:
    straight = Recorder()
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    whole = fit(straight, loop_in(tmp_path / "a", epochs=7, every=every, record=losses))

    def die(row: dict[str, Any]) -> None:
        if row["epoch"] == 4:
            raise KeyboardInterrupt

    loop = loop_in(tmp_path / "b", epochs=7, every=every, record=losses, on_epoch=die)
    with pytest.raises(KeyboardInterrupt):
        fit(Recorder(), loop)
    resumed = Recorder()
    loop = loop_in(tmp_path / "b", epochs=7, every=every, record=losses)
    made = fit(resumed, loop)
    assert resumed.seen == straight.seen
    assert torch.equal(made.recorded["loss"], whole.recorded["loss"])
    assert [row["epoch"] for row in made.rows] == list(range(7))
    assert read_rows(loop.history) == made.rows


def test_a_checkpoint_is_all_that_a_killed_run_needs(tmp_path: Path) -> None:
    fit(Recorder(), loop_in(tmp_path, epochs=3))
    (tmp_path / "history.jsonl").write_text('{"epoch": 0}\n{"epo')
    loop = loop_in(tmp_path, epochs=5)
    made = fit(Recorder(), loop)
    assert [row["epoch"] for row in made.rows] == list(range(5))
    assert read_rows(loop.history) == made.rows


def test_training_does_not_wait_for_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    monkeypatch.setattr("os.fsync", synced.append)
    waits: list[int] = []
    loop = loop_in(tmp_path, on_epoch=lambda row: waits.append(len(synced)))
    fit(Recorder(), loop)
    assert waits == [0, 0, 0, 0]  # a checkpoint and a row were written in each
    assert len(synced) == 1  # the history at the end, whose checksum a result will hold


def test_a_damaged_checkpoint_means_starting_over_and_saying_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fit(Recorder(), loop_in(tmp_path, epochs=2))
    path = tmp_path / "checkpoint.safetensors"
    path.write_bytes(path.read_bytes()[:-2])
    method = Recorder()
    fit(method, loop_in(tmp_path, epochs=3))
    assert "starts over" in caplog.text
    assert {epoch for epoch, _ in method.seen} == {0, 1, 2}


def test_a_loss_that_is_not_finite_stops_the_run_with_the_epoch_and_what_to_do(
    tmp_path: Path,
) -> None:
    with pytest.raises(DivergedError, match=r"epoch 0 is nan.*learning rate"):
        fit(Recorder(scale=float("inf")), loop_in(tmp_path))


def test_a_checkpoint_keeps_nested_state_exactly(tmp_path: Path) -> None:
    state = {
        "tensors": {
            0: torch.rand(3, dtype=torch.float64),
            "u8": torch.arange(4, dtype=torch.uint8),
        },
        "mixed": [1, 2.5, None, True, "text", (1, [torch.tensor(7)])],
        "empty": {},
    }
    path = tmp_path / "state.safetensors"
    save_state(path, state)
    found = load_state(path)
    assert torch.equal(found["tensors"][0], state["tensors"][0])
    assert found["tensors"]["u8"].dtype == torch.uint8
    assert found["mixed"][:5] == [1, 2.5, None, True, "text"]
    assert found["mixed"][5] == (1, [torch.tensor(7)])
    assert found["empty"] == {}
    with pytest.raises(TypeError, match="cannot keep"):
        save_state(path, {"x": object()})
    with pytest.raises(CorruptError):
        load_state(tmp_path / "missing")


def test_the_probes_schedule_is_the_released_square_wave() -> None:
    probe = ProbeConfig()
    high, low = (120, 134, 150), (135, 149, 285, 299)
    assert {probe.lr_at(e) for e in (0, 119)} == {0.1}
    assert {probe.lr_at(e) for e in high} == {0.01}
    assert {probe.lr_at(e) for e in low} == {0.001}
    assert [probe.batch_size_at(e) for e in (119, 120)] == [128, 16]


def test_the_allocating_schedule_warms_up_and_drops_at_80_and_100() -> None:
    allocate = AllocateConfig()
    found = [allocate.lr_at(e) for e in (0, 4, 5, 79, 80, 99, 100, 199)]
    assert found == pytest.approx([0.02, 0.1, 0.1, 0.1, 0.01, 0.01, 0.001, 0.001])
    assert allocate.first_drop == 80
    assert AllocateConfig(epochs=50).first_drop == 50


def test_evaluation_counts_right_answers_and_leaves_the_model_in_its_mode() -> None:
    class Fixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.unused = nn.Parameter(torch.zeros(1))
            self.modes: list[bool] = []

        def forward(self, x: Tensor) -> Tensor:
            self.modes.append(self.training)
            return torch.tensor([0.0, 1.0, 0.0, 0.0]).expand(len(x), 4)

    model = Fixed()
    found = evaluate(model, tiny_set(20), 4)
    assert found.accuracy == pytest.approx(100 * 7 / 20)
    assert found.per_class == [0.0, 100.0, 0.0, None]
    assert found.confusion() == {"confusion": ["0 7 0 0", "0 7 0 0", "0 6 0 0", "0 0 0 0"]}
    assert model.modes == [False]
    assert model.training


def test_the_three_accuracies_follow_their_rules() -> None:
    accuracies = [90.0, *range(1, 13)]
    found = three_accuracies(accuracies)
    assert found == {"accuracy": 12, "accuracy_last10": 7.5, "accuracy_best": 90.0}
    assert three_accuracies([3.0])["accuracy_last10"] == 3.0


def test_the_weight_gap_is_the_mean_of_right_less_that_of_wrong_labels() -> None:
    weights, wrong = torch.tensor([1.0, 0.5, 0.0]), torch.tensor([False, False, True])
    assert weight_gap(weights, wrong) == pytest.approx(0.75)
    assert weight_gap(weights, torch.zeros(3, dtype=torch.bool)) is None
    assert weight_gap(weights, torch.ones(3, dtype=torch.bool)) is None


def test_the_learning_rate_follows_a_half_cosine_or_a_straight_line_if_asked() -> None:
    cosine = AllocateConfig(epochs=10, lr=0.2, warmup=0, milestones=(), schedule="cosine")
    assert [cosine.lr_at(0), cosine.lr_at(5)] == pytest.approx([0.2, 0.1])
    linear = AllocateConfig(epochs=10, lr=0.2, warmup=0, milestones=(6,), schedule="linear")
    assert [linear.lr_at(e) for e in (0, 5, 6, 8)] == pytest.approx([0.2, 0.2, 0.2, 0.1])


def test_each_drop_has_its_own_factor_if_several_are_given() -> None:
    recipe = AllocateConfig(epochs=9, lr=0.5, warmup=0, milestones=(3, 6), gamma=(0.2, 0.1))
    assert [recipe.lr_at(e) for e in (0, 3, 6)] == pytest.approx([0.5, 0.1, 0.01])
    with pytest.raises(ValueError, match="2 milestones"):
        AllocateConfig(milestones=(3, 6), gamma=(0.2,))


def test_a_loop_that_is_asked_to_stop_writes_a_checkpoint_only_if_there_is_none(
    tmp_path: Path,
) -> None:
    written: list[int] = []

    class Noted(Checkpoint):
        def save(self, state: dict[str, Any]) -> None:
            written.append(state["epoch"])
            super().save(state)

    def stop_after(epochs: int) -> None:
        loop = loop_in(tmp_path, every=2)
        loop.checkpoint = Noted(tmp_path / "checkpoint.safetensors", 2)
        loop.stop = lambda: len(read_rows(loop.history)) >= epochs
        with pytest.raises(StoppedError, match=f"after {epochs} of 4 epochs"):
            fit(Recorder(), loop)

    for epochs, expected in [(0, []), (1, [1]), (1, []), (2, [2]), (2, []), (3, [3])]:
        written.clear()
        stop_after(epochs)
        assert written == expected


def test_a_copy_of_the_code_without_git_is_told_its_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CURVETUNE_COMMIT", "c0ffee")
    assert provenance(CPU)["commit"] == "c0ffee"
