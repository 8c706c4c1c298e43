"""The mathematics of MentorNet, predefined and data-driven."""

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError
from test_selection import built, random, same
from toy import NUM_CLASSES, NUM_SAMPLES, batches, new_model, toy, toy_batch, toy_set

from curvetune.config import AllocateConfig, CellConfig, DataConfig, MentorNetConfig
from curvetune.methods.mentornet import dropped_out, linear, percentile, self_paced
from curvetune.methods.shared.mentor import Mentor, corrupted, lessons, teach


@pytest.mark.parametrize("size", [1, 2, 20, 127])
def test_the_percentile_is_an_element_as_numpys_nearest_is(size: int) -> None:
    losses = random(size)
    for share in (0.5, 0.75, 0.9):
        expected = np.percentile(losses.numpy(), 100 * share, method="nearest")
        assert float(percentile(losses, share)) == pytest.approx(float(expected))


def test_the_threshold_rises_monotonically_to_a_constant_loss() -> None:
    method: Any = toy(("mentornet", {"percentile_decay": 0.9}))
    method.start_epoch(0)
    start = {name: value.clone() for name, value in method.model.state_dict().items()}
    seen = []
    for _ in range(4):  # the same model and the same sample: the same loss
        method.model.load_state_dict(start)
        metrics = method.step(toy_batch(torch.tensor([3])), None)
        seen.append(float(metrics["threshold"]))
    expected = [float(metrics["loss"]) * (1 - 0.9**step) for step in (1, 2, 3, 4)]
    assert seen == pytest.approx(expected, rel=1e-4)
    assert seen == sorted(seen)


def test_the_curricula_are_those_of_the_release() -> None:
    excess = [-1.0, -1e-6, 0.0, 0.25, 0.5, 1.0, 3.0]
    assert self_paced(torch.tensor(excess)).tolist() == [1, 1, 1, 0, 0, 0, 0]
    expected = [max(0.0, min(1.0, 1 - value / 2)) for value in excess]
    assert linear(torch.tensor(excess), 2.0).tolist() == pytest.approx(expected)


def test_pd_takes_all_then_the_low_losses_then_falls_linearly() -> None:
    method: Any = toy(("mentornet", {}), epochs=100)
    rules = []
    for epoch in (0, 17, 18, 89, 90, 99):
        method.start_epoch(epoch)
        metrics = method.step(batches(1)[0], None)
        excess = metrics["loss"] - metrics["threshold"]
        candidates = {
            "all": torch.ones(20),
            "self-paced": (excess <= 0).float(),
            "linear": torch.where(excess < 0, 1.0, torch.where(excess > 1, 0.0, 1 - excess)),
        }
        rules.append([n for n, v in candidates.items() if torch.allclose(v, metrics["weight"])])
    assert rules == [["all"]] * 2 + [["self-paced"]] * 2 + [["linear"]] * 2


def test_dropout_leaves_an_exact_number_of_samples_and_any_of_them() -> None:
    draws = torch.Generator().manual_seed(0)
    left = torch.stack([dropped_out(torch.full((20,), 0.7), 0.5, draws) for _ in range(100)])
    assert ((left > 0).sum(dim=1) == 10).all()
    assert float(left.max()) == pytest.approx(0.7)
    assert ((left > 0).float().mean(dim=0) - 0.5).abs().max() < 0.2  # 4 standard deviations
    assert float(dropped_out(torch.ones(1), 0.5, draws)) == 1
    assert torch.equal(dropped_out(torch.ones(9), 0.0, draws), torch.ones(9))


def test_mentornets_step_scales_the_weight_decay_by_the_mean_weight() -> None:
    """Against SGD by hand, where the dropout of the burn-in leaves half of the samples."""
    recipe = AllocateConfig(epochs=10, lr=0.02, warmup=0, weight_decay=1.0)  # large, to be seen
    method, batch, model = built(MentorNetConfig(), recipe=recipe), batches(1)[0], new_model()
    method.start_epoch(0)
    draws = torch.Generator()
    draws.set_state(method._parts.draws.get_state())
    left = torch.rand(20, generator=draws).argsort(descending=True)[:10]
    losses = F.cross_entropy(model(batch.x), batch.y, reduction="none")
    slopes = torch.autograd.grad(losses[left].sum() / 20, model.parameters())
    method.step(batch, None)
    for param, slope, found in zip(
        model.parameters(), slopes, method.model.parameters(), strict=True
    ):
        step = (slope + 0.5 * recipe.weight_decay * param.detach()) * (1 + recipe.momentum)
        expected = param.detach() - recipe.lr_at(0) * step
        torch.testing.assert_close(found.detach(), expected, rtol=1e-4, atol=1e-6)


def test_the_mentor_is_a_bidirectional_lstm_of_one_unit_and_two_layers() -> None:
    mentor = Mentor(torch.Generator().manual_seed(0))
    trained = [value for value in mentor.parameters() if value.requires_grad]
    assert sum(value.numel() for value in trained) == 2 * 16 + 4 + (9 + 1) * 20 + 21
    losses, excess = [0.3, 2.0, 9.0], [-1.0, 0.5, 7.0]
    found = mentor(torch.tensor(losses), torch.tensor(excess), 18)
    state = {name: value.double().numpy() for name, value in mentor.state_dict().items()}
    for result, loss, over in zip(found.tolist(), losses, excess, strict=True):
        cells = [
            cell_state(state, direction, sequence)
            for direction, sequence in (("", [loss, over]), ("_reverse", [over, loss]))
        ]
        known = [state["label.weight"][0], state["percentage.weight"][18], cells]
        hidden = state["hidden.weight"] @ np.concatenate(known) + state["hidden.bias"]
        expected = state["last.weight"] @ np.tanh(hidden) + state["last.bias"]
        assert result == pytest.approx(float(expected[0]), rel=1e-4)


def cell_state(state: dict[str, Any], direction: str, sequence: list[float]) -> float:
    """Return the last cell state of an LSTM with one unit; gates are in PyTorch's order."""
    w_in, w_out, b_in, b_out = (
        state[f"lstm.{kind}_l0{direction}"].reshape(4)
        for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    )
    cell = output = 0.0
    for value in sequence:
        gates = w_in * value + w_out * output + b_in + b_out
        opened, forget, out = (1 / (1 + math.exp(-gates[k])) for k in (0, 1, 3))
        cell = forget * cell + opened * math.tanh(gates[2])
        output = out * math.tanh(cell)
    return cell


def test_labels_are_made_wrong_at_the_rate_asked_for_and_evenly() -> None:
    y = torch.arange(30_000) % 3
    given = corrupted(y, 0.3, 3, torch.Generator().manual_seed(0))
    shares = [[float((given[y == k] == j).float().mean()) for j in range(3)] for k in range(3)]
    np.testing.assert_allclose(shares, 0.15 + 0.55 * np.eye(3), atol=0.02)


def test_the_mentors_lessons_are_losses_of_training_passes_that_leave_no_trace() -> None:
    model = new_model()
    before = new_model()
    draws = torch.Generator().manual_seed(0)
    losses, right = lessons(
        model, toy_set(), batch_size=NUM_SAMPLES, noise=0.2, num_classes=NUM_CLASSES, draws=draws
    )
    assert same(model, before)
    assert losses.shape == right.shape == (8 * NUM_SAMPLES,)
    assert float(right.mean()) == pytest.approx(0.8, abs=0.08)
    (whole,) = toy_set().ordered(NUM_SAMPLES)
    expected = F.cross_entropy(before(whole.x), whole.y, reduction="none").repeat(8)
    torch.testing.assert_close(losses[right == 1], expected[right == 1])
    assert not torch.isclose(losses[right == 0], expected[right == 0]).any()


def test_the_mentor_learns_that_high_losses_mean_wrong_labels() -> None:
    generator = torch.Generator().manual_seed(0)
    right = (torch.rand(500, generator=generator) < 0.8).float()
    losses = torch.where(right == 1, 1.0, 4.0) * torch.rand(500, generator=generator)
    losses = losses + torch.where(right == 1, 0.0, 2.0)
    mentor = Mentor(generator)
    fixed = mentor.percentage.weight.clone()
    loss = teach(mentor, losses, right, torch.tensor(1.5), 18, steps=300, lr=0.1, draws=generator)
    weights = torch.sigmoid(mentor(losses, losses - 1.5, 18)).detach()
    assert float(loss) < 0.1
    assert float(weights[right == 1].min()) > 0.8
    assert float(weights[right == 0].max()) < 0.2
    assert torch.equal(mentor.percentage.weight, fixed)


def test_dd_trains_its_mentor_once_at_the_end_of_the_burn_in() -> None:
    method: Any = toy(("mentornet, data-driven", {"kind": "dd", "mentor_steps": 5}))
    states, weights = [], []
    for epoch in range(4):  # the burn-in is 18 % of ten epochs: two
        method.start_epoch(epoch)
        weights.append(method.step(batches(1)[0], None)["weight"])
        states.append(
            torch.cat([value.detach().flatten() for value in method._mentor.parameters()])
        )
    changed = [not torch.equal(a, b) for a, b in pairwise(states)]
    assert changed == [False, True, False]
    assert all(torch.equal(values, torch.ones(20)) for values in weights[:2])
    assert all(((values > 0) & (values < 1)).all() for values in weights[2:])


def test_only_dd_needs_the_clean_set() -> None:
    assert MentorNetConfig().meta_set is None
    assert MentorNetConfig(kind="dd").meta_set == "clean"
    no_meta = DataConfig(meta_per_class=0)
    CellConfig(data=no_meta, method=MentorNetConfig())
    with pytest.raises(ValidationError, match="needs a clean set"):
        CellConfig(data=no_meta, method=MentorNetConfig(kind="dd"))
