"""Where a training diverged: a loss that is not finite, or that leaps; and no false alarms."""

import math
import random

import pytest

from curvetune.analysis.divergence import divergence, divergence_words
from curvetune.config import CellConfig


def rows(losses: list[float]) -> list[dict[str, float]]:
    return [{"epoch": k, "loss": loss} for k, loss in enumerate(losses)]


def falling(epochs: int, seed: int = 0) -> list[float]:
    draw = random.Random(seed)
    return [2.3 * math.exp(-k / 40) * draw.uniform(0.97, 1.03) + 0.02 for k in range(epochs)]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_single_loss_that_is_not_finite_is_found(value: float) -> None:
    losses = falling(20_000)
    losses[12_345] = value
    (fault,) = divergence("allocate", rows(losses))
    assert (fault.stage, fault.epoch) == ("allocate", 12_345)


def test_a_single_spike_is_found() -> None:
    losses = falling(300)
    losses[222] = 812.0
    (fault,) = divergence("probe", rows(losses))
    assert (fault.epoch, fault.loss) == (222, 812.0)


@pytest.mark.parametrize("seed", range(20))
def test_a_loss_that_falls_with_noise_is_none(seed: int) -> None:
    assert divergence("allocate", rows(falling(300, seed))) == []


def test_a_loss_that_a_cyclic_learning_rate_lifts_is_none() -> None:
    """The probe's learning rate rises tenfold after a long flat end; the loss stays below 2.3."""
    losses = [*falling(200), *[0.02 + 0.4 * abs(math.sin(k)) for k in range(100)]]
    assert divergence("probe", rows(losses)) == []


def test_the_first_epochs_and_rows_without_a_loss_are_none() -> None:
    assert divergence("allocate", rows([1.0, 5.0])) == []
    assert divergence("allocate", [{"epoch": 0}, {"epoch": 1, "accuracy": 3.0}]) == []
    assert divergence("allocate", []) == []


def test_words_name_the_stage_and_the_first_epochs() -> None:
    losses = [math.nan] * 5 + [1.0] * 5
    words = divergence_words(divergence("allocate", rows(losses)))
    assert words == (
        "allocating: loss nan at epoch 0, loss nan at epoch 1, loss nan at epoch 2 and 2 more"
    )
    assert divergence_words([]) == ""


def test_real_schedules_of_the_defaults_would_not_alarm() -> None:
    """A loss that follows the learning rate of the default probe, tenfold up and down."""
    probe = CellConfig().probe
    losses = [2.3 / (1 + k) + 2.0 * probe.lr_at(k) for k in range(probe.epochs)]
    assert divergence("probe", rows(losses)) == []
