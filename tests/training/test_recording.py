"""What a probe records: losses that are right near zero, margins, and which predictions were right.

References are numpy in float64, and a second pass over what the first one saw.
"""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.special import logsumexp
from scipy.stats import spearmanr
from torch import Tensor, nn

from curvetune.config import HalfConfig, ProbeConfig
from curvetune.data.sets.resident import ResidentSet
from curvetune.data.source import Dataset, Images
from curvetune.errors import StoppedError
from curvetune.methods.shared.objective import Subset
from curvetune.probe.recording import Recording, condensed, exact_loss, signed_margin, split
from curvetune.probe.run import run_probe
from curvetune.store import CurveStore
from curvetune.training.checkpoint import load_state, save_state
from curvetune.training.engine import ENGINE

PROBE = "0123456789abcdef"
RECIPE = ProbeConfig(
    epochs=6, cyclic_start=3, half_period=1, batch_size=16, cyclic_batch_size=8, lr=0.05
)


def logits_of(samples: int, classes: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return logits with noise N(0, 1), the given label's up to 60 above it, and labels."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(samples, classes, generator=generator)
    y = torch.randint(classes, (samples,), generator=generator)
    above = torch.linspace(-40, 60, samples)
    return logits.scatter_add(1, y[:, None], above[:, None]), y


def in_float64(logits: Tensor, y: Tensor) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the cross entropy and the margin of each sample, (N,)."""
    z = logits.double().numpy()
    rows = np.arange(len(z))
    given, others = z[rows, y], z.copy()
    others[rows, y] = -np.inf
    return np.logaddexp(0, logsumexp(others, axis=1) - given), given - others.max(axis=1)


@pytest.mark.parametrize("classes", [2, 3, 10, 100])
def test_the_recorded_loss_is_that_of_float64_and_never_zero(classes: int) -> None:
    logits, y = logits_of(20_000, classes)
    true, _ = in_float64(logits, y)
    found = exact_loss(*split(logits, y)).numpy()
    assert np.allclose(found, true, rtol=2e-5, atol=0)
    assert (found > 0).all()
    plain = F.cross_entropy(logits, y, reduction="none").numpy()
    assert (plain == 0).sum() > 5_000  # what it is for


def test_clean_samples_have_their_true_ranks() -> None:
    logits, y = logits_of(20_000, 10)
    logits = torch.randn(20_000, 10, generator=torch.Generator().manual_seed(1))
    logits = logits.scatter_add(1, y[:, None], torch.full((20_000, 1), 18.0))
    true, _ = in_float64(logits, y)
    found = exact_loss(*split(logits, y)).numpy()
    assert spearmanr(found, true).statistic > 1 - 1e-7
    plain = F.cross_entropy(logits, y, reduction="none").numpy()
    assert spearmanr(plain, true).statistic < 0.97


def test_what_is_not_finite_stays_so() -> None:
    logits = torch.tensor([[torch.nan, 0.0], [0.0, torch.nan], [-torch.inf, 0.0]])
    found = exact_loss(*split(logits, torch.zeros(3, dtype=torch.int64)))
    assert not found.isfinite().any()


@pytest.mark.parametrize("seed", range(20))
def test_the_sign_bit_in_16_bits_says_whether_argmax_is_the_given_label(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    scale = 10.0 ** torch.randint(-40, 8, (3000, 1), generator=generator)
    logits = torch.randint(-2, 3, (3000, 4), generator=generator) * scale  # one in three is a tie
    logits[:100] += torch.randn(100, 4, generator=generator) * 1e-38
    y = torch.randint(4, (3000,), generator=generator)
    samples = {"logits": logits, "loss": torch.zeros(3000)}
    kept = Recording(y, with_exact_loss=False)(samples)["margin"].numpy()
    assert kept.dtype == np.float16
    assert np.isfinite(kept).all()
    right = logits.numpy().argmax(axis=1) == y.numpy()
    assert np.array_equal(~np.signbit(kept), right)
    _, true = in_float64(logits, y)
    assert np.allclose(kept, true.clip(-65504, 65504), rtol=2**-11, atol=2**-24)
    assert ((kept == 0) & ~right).any()
    assert ((kept == 0) & right).any()


def test_of_two_classes_the_loss_is_that_of_the_margin() -> None:
    logits, y = logits_of(1000, 2)
    margin = signed_margin(logits, y).double()
    assert torch.allclose(exact_loss(*split(logits, y)).double(), F.softplus(-margin), rtol=1e-5)


@pytest.fixture
def _hooks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every step be an ordinary one: a step that is done from a tape calls no hook."""
    monkeypatch.setenv(ENGINE, "eager")


class Watch:
    """Notes the logits of every batch of an epoch, and what the probe recorded of it."""

    def __init__(self, model: nn.Module, train: ResidentSet) -> None:
        self.logits: list[Tensor] = []
        self.index: list[Tensor] = []
        model.register_forward_hook(lambda _m, _x, y: self.logits.append(y.detach().clone()))
        batches = train.batches

        def noted(*args: Any, **named: Any) -> Any:
            for batch in batches(*args, **named):
                self.index.append(batch.index)
                yield batch

        train.batches = noted  # type: ignore[method-assign]

    def epochs(self, samples: int, count: int) -> Tensor:
        """Return the logits of each epoch and sample, (T, N, K)."""
        logits, index = torch.cat(self.logits), torch.cat(self.index)
        rows = torch.arange(count).repeat_interleave(len(index) // count)
        found = torch.full((count, samples, logits.shape[1]), torch.nan)
        found[rows, index] = logits
        return found


def noise_set(samples: int = 41) -> ResidentSet:
    generator = np.random.default_rng(0)
    x = generator.integers(0, 255, (samples, 1, 4, 4), dtype=np.uint8)
    y = generator.integers(0, 3, samples)
    images = Images(x, y)
    facts = Dataset("noise", images, images, ("a", "b", "c"), (127.0,), (60.0,), 1, False)
    return ResidentSet(x, y, facts, torch.device("cpu"))


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 3))


def probe(storage: Path, model: nn.Module | None = None, **options: Any) -> NDArray[np.float32]:
    recipe = options.pop("recipe", RECIPE)
    train = options.pop("train", None) or noise_set()
    return run_probe(
        recipe,
        model or network(),
        train,
        torch.Generator().manual_seed(1),
        storage=storage,
        probe_id=PROBE,
        info={},
        checkpoint_every=2,
        on_epoch=options.pop("on_epoch", lambda row: None),
        **options,
    )


def margins_in(storage: Path) -> NDArray[np.float16]:
    found = CurveStore(storage).margins(PROBE)
    assert found is not None
    return np.asarray(found)


def rows_in(storage: Path) -> list[Any]:
    from curvetune.store.history import read_rows

    rows = read_rows(CurveStore(storage).folder(PROBE) / "history.jsonl")
    return [{**row, "time": 0, "seconds": 0} for row in rows]


@pytest.mark.usefixtures("_hooks")
def test_a_probe_records_what_its_own_training_passes_gave(tmp_path: Path) -> None:
    model, train = network(), noise_set()
    watch = Watch(model, train)
    curves = probe(tmp_path, model, train=train)
    for epoch, logits in enumerate(watch.epochs(41, RECIPE.epochs)):
        loss, margin = in_float64(logits, train.y)
        assert np.allclose(curves[:, epoch], loss, rtol=1e-5)
        assert np.allclose(margins_in(tmp_path)[:, epoch], margin, rtol=2**-11, atol=2**-24)
        right = logits.numpy().argmax(axis=1) == train.y.numpy()
        assert np.array_equal(~np.signbit(margins_in(tmp_path)[:, epoch]), right)
    files = CurveStore(tmp_path).manifest(PROBE)["files"]
    assert {"curves.npy", "margins.npy"} <= files.keys()


def test_the_form_of_the_loss_moves_neither_history_nor_classifier(tmp_path: Path) -> None:
    exact = probe(tmp_path / "exact")
    before = probe(tmp_path / "before", recipe=RECIPE.model_copy(update={"loss_form": "float32"}))
    assert rows_in(tmp_path / "exact") == rows_in(tmp_path / "before")
    models = [
        CurveStore(tmp_path / n).folder(PROBE) / "model.safetensors" for n in ("exact", "before")
    ]
    assert models[0].read_bytes() == models[1].read_bytes()
    assert np.array_equal(margins_in(tmp_path / "exact"), margins_in(tmp_path / "before"))
    assert not np.array_equal(exact, before)
    assert np.abs(exact - before).max() < 1e-6


@pytest.mark.usefixtures("_hooks")
def test_the_loss_of_form_float32_is_the_one_that_was_trained_on(tmp_path: Path) -> None:
    model, train = network(), noise_set()
    watch = Watch(model, train)
    recipe = RECIPE.model_copy(update={"loss_form": "float32"})
    curves = probe(tmp_path, model, train=train, recipe=recipe)
    for epoch, logits in enumerate(watch.epochs(41, RECIPE.epochs)):
        plain = F.cross_entropy(logits, train.y, reduction="none")
        assert np.allclose(curves[:, epoch], plain.numpy(), rtol=1e-6, atol=1e-6)


def test_samples_that_a_probe_never_sees_have_no_margin(tmp_path: Path) -> None:
    half = torch.arange(0, 41, 2)
    recipe = HalfConfig(epochs=4, batch_size=8, milestones=(2,), warmup=0)
    curves = probe(tmp_path, recipe=recipe, subset=Subset(half, torch.Generator().manual_seed(2)))
    unseen = np.isnan(margins_in(tmp_path))
    assert np.array_equal(unseen, np.isnan(curves))
    assert np.array_equal(np.flatnonzero(~unseen.any(axis=1)), half.numpy())


def stop_after(epochs: int) -> dict[str, Any]:
    rows: list[Any] = []
    return {"on_epoch": rows.append, "stop": lambda: len(rows) >= epochs}


@pytest.mark.parametrize("classes", [2, 3, 10, 101])
@pytest.mark.parametrize("size", [1, 7, 64])
def test_what_steps_leave_of_logits_is_recorded_as_whole_logits_are_bit_for_bit(
    classes: int, size: int
) -> None:
    generator = torch.Generator().manual_seed(classes)
    logits = 9 * torch.randn(1009, classes, generator=generator)
    y = torch.randint(classes, (1009,), generator=generator)
    whole = {"loss": torch.rand(1009, generator=generator), "logits": logits}
    parts = [
        condensed({name: values[k : k + size] for name, values in whole.items()}, y[k : k + size])
        for k in range(0, 1009, size)
    ]
    left = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    assert all(values.dim() == 1 for values in left.values())
    for exact in (True, False):
        expected, found = (Recording(y, exact)(samples) for samples in (whole, left))
        assert expected.keys() == found.keys() == {"loss", "margin"}
        for name, values in expected.items():
            assert torch.equal(values, found[name])
            assert values.dtype == found[name].dtype


def test_a_probe_that_was_stopped_ends_with_the_same_margins(tmp_path: Path) -> None:
    curves = probe(tmp_path / "straight")
    with pytest.raises(StoppedError):
        probe(tmp_path / "stopped", **stop_after(3))
    assert np.array_equal(probe(tmp_path / "stopped"), curves)
    assert margins_in(tmp_path / "stopped").tobytes() == margins_in(tmp_path / "straight").tobytes()


def test_a_probe_that_an_older_version_began_ends_without_margins(tmp_path: Path) -> None:
    curves = probe(tmp_path / "straight")
    with pytest.raises(StoppedError):
        probe(tmp_path / "old", **stop_after(3))
    checkpoint = CurveStore(tmp_path / "old").folder(PROBE) / "checkpoint.safetensors"
    state = load_state(checkpoint)
    assert "logits" not in state["samples"]  # of one epoch only, and as large as that
    del state["margins"]
    save_state(checkpoint, state)
    assert np.array_equal(probe(tmp_path / "old"), curves)
    assert CurveStore(tmp_path / "old").margins(PROBE) is None
    assert CurveStore(tmp_path / "old").has(PROBE)


def test_a_probe_without_margins_stays_valid_and_damaged_ones_are_never_used(
    tmp_path: Path,
) -> None:
    store, curves = CurveStore(tmp_path / "old"), np.ones((3, 2), np.float32)
    store.write(PROBE, curves, {})
    assert np.array_equal(store.read(PROBE), curves)
    assert store.margins(PROBE) is None
    whole = CurveStore(tmp_path / "new")
    margins = np.array([[1, -0.0], [-3, np.nan], [0.0, 2]], np.float16)
    whole.write(PROBE, curves, {}, margins=margins)
    assert np.asarray(whole.margins(PROBE)).tobytes() == margins.tobytes()
    file = whole.folder(PROBE) / "margins.npy"
    assert file.stat().st_size - 128 == margins.nbytes == curves.nbytes / 2  # npy's header
    shutil.copy(store.folder(PROBE) / "curves.npy", file)
    assert not whole.has(PROBE)


def test_margins_of_a_probe_that_was_discarded_are_not_those_of_the_next(tmp_path: Path) -> None:
    store, curves = CurveStore(tmp_path), np.ones((3, 2), np.float32)
    store.write(PROBE, curves, {}, margins=np.ones((3, 2), np.float16))
    store.discard(PROBE)
    store.write(PROBE, curves, {})
    assert store.margins(PROBE) is None


def test_recording_waits_for_nothing(tmp_path: Path) -> None:
    """On the `meta` device no value exists, so what asked for one would fail."""
    logits, y = torch.empty(9, 4, device="meta"), torch.empty(9, dtype=torch.int64, device="meta")
    kept = Recording(y, with_exact_loss=True)({"logits": logits, "loss": logits[:, 0]})
    assert {name: (v.shape, v.dtype) for name, v in kept.items()} == {
        "loss": ((9,), torch.float32),
        "margin": ((9,), torch.float16),
    }
