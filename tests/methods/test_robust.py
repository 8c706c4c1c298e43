"""The mathematics of generalized and of symmetric cross entropy, and of ELR, from the equations."""

import math
from copy import deepcopy
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from first_step import after_step, check_params, random_logits, some_labels, step_and_copy
from pydantic import ValidationError
from toy import NUM_SAMPLES, batches, labels, toy, toy_batch

from curvetune.config import CellConfig, ELRConfig, GCEConfig, SCEConfig
from curvetune.config.profiles import apply_profile, native_recipe
from curvetune.methods.cross_entropy import cross_entropy
from curvetune.methods.elr import clamped, elr_loss, moved_targets
from curvetune.methods.gce import gce_factor, gce_loss, truncated_loss
from curvetune.methods.sce import sce_factor, sce_loss

HOPELESS, CERTAIN = [-1e4, 1e4, 0.0], [1e4, -1e4, 0.0]  # logits of a sample whose label is 0


def softmax(logits: Any) -> Any:
    """Return probabilities of each row in float64, by NumPy."""
    z = np.asarray(logits, np.float64)
    odds = np.exp(z - z.max(axis=1, keepdims=True))
    return odds / odds.sum(axis=1, keepdims=True)


def slope(loss: Any, logits: list[float]) -> Any:
    z = torch.tensor([logits], requires_grad=True)
    (found,) = torch.autograd.grad(loss(z, torch.tensor([0])).sum(), z)
    return found


# Generalized cross entropy


@pytest.mark.parametrize("power", [0.1, 0.7, 1.0])
def test_generalized_cross_entropy_is_its_formula(power: float) -> None:
    logits, y = random_logits(), some_labels()
    q = softmax(logits)[np.arange(12), y.numpy()]
    found = gce_loss(logits, y, power=power)
    np.testing.assert_allclose(found, (1 - q**power) / power, rtol=1e-12)


def test_generalized_cross_entropy_goes_from_cross_entropy_to_the_absolute_error() -> None:
    logits, y = random_logits(), some_labels()
    torch.testing.assert_close(
        gce_loss(logits, y, power=1e-9), cross_entropy(logits, y), rtol=1e-6, atol=0
    )
    one_hot = F.one_hot(y, 4)
    absolute = (logits.softmax(1) - one_hot).abs().sum(1) / 2
    torch.testing.assert_close(gce_loss(logits, y, power=1.0), absolute)


def test_a_sure_samples_generalized_loss_keeps_its_digits_in_float32() -> None:
    logits = torch.tensor([[9.0, 0.0, 0.0]])
    wrong = 2 / (math.exp(9) + 2)  # 1 - q
    expected = -math.expm1(0.7 * math.log1p(-wrong)) / 0.7
    found = float(gce_loss(logits, torch.tensor([0]), power=0.7))
    assert found == pytest.approx(expected, rel=1e-3)  # cross entropy itself is good to 2e-4
    by_power = (1 - float(logits.softmax(1)[0, 0] ** 0.7)) / 0.7
    assert abs(found - expected) <= abs(by_power - expected)


@pytest.mark.parametrize("power", [0.3, 0.7, 1.0])
def test_the_generalized_slope_is_cross_entropys_times_the_reported_weight(power: float) -> None:
    logits, y = random_logits().requires_grad_(), some_labels()
    (found,) = torch.autograd.grad(gce_loss(logits, y, power=power).sum(), logits)
    (plain,) = torch.autograd.grad(cross_entropy(logits, y).sum(), logits)
    weight = gce_factor(logits.detach(), y, power=power)
    torch.testing.assert_close(found, weight[:, None] * plain)
    assert torch.autograd.gradcheck(partial(gce_loss, y=y, power=power), (logits,))


def test_a_truncated_loss_is_constant_where_a_sample_is_pruned() -> None:
    losses = torch.tensor([0.1, 0.9, 1.2], dtype=torch.float64, requires_grad=True)
    kept = torch.tensor([1.0, 0.0, 1.0])
    found = truncated_loss(losses, kept, power=0.7, keep_above=0.5)
    assert found.tolist() == pytest.approx([0.1, (1 - 0.5**0.7) / 0.7, 1.2])
    (slopes,) = torch.autograd.grad(found.sum(), losses)
    assert slopes.tolist() == [1, 0, 1]


def truncated(**options: Any) -> Any:
    return toy(("gce, truncated", {"truncated": True, **options}))


def given_probabilities(method: Any) -> Any:
    """Return q_y of every sample, (N,), of images as they are, by the running statistics."""
    whole = toy_batch(torch.arange(NUM_SAMPLES))
    method.model.eval()
    with torch.no_grad():
        logits = method.model(whole.x)
    method.model.train()
    return softmax(logits.numpy())[np.arange(NUM_SAMPLES), whole.y.numpy()]


def test_samples_are_pruned_by_the_classifier_of_the_moment_and_taken_back() -> None:
    method = truncated(prune_every=2)
    kept = method.state.state_dict()["kept"]
    method.start_epoch(0)
    for batch in batches(8):
        method.step(batch, None)
    method.start_epoch(1)
    assert kept.tolist() == [1.0] * NUM_SAMPLES  # the drop, and so the first pruning, is at 2
    expected = given_probabilities(method) > 0.5
    method.start_epoch(2)
    assert 0 < expected.sum() < NUM_SAMPLES
    assert kept.bool().tolist() == expected.tolist()
    for batch in batches(25):
        method.step(batch, None)
    before = kept.clone()
    method.start_epoch(3)
    assert torch.equal(kept, before)  # only every second epoch
    expected = given_probabilities(method) > 0.5
    method.start_epoch(4)
    assert kept.bool().tolist() == expected.tolist()
    assert (kept > before).any()


def test_a_truncated_step_is_the_mean_over_the_batch_without_the_pruned() -> None:
    method, batch = truncated(prune_start=0.0, keep_above=0.3), batches(1)[0]
    method.start_epoch(0)
    kept = method.state.state_dict()["kept"][batch.index]
    assert 0 < kept.sum() < len(kept)
    before = deepcopy(method.model)
    metrics = method.step(batch, None)
    q = before(batch.x).softmax(1)[torch.arange(20), batch.y]
    loss = (kept * (1 - q**0.7) / 0.7).sum() / 20
    check_params(method.model, after_step(before, loss, 0.02))
    torch.testing.assert_close(metrics["weight"], (kept * q**0.7).detach())


def test_prunings_shrink_with_the_schedule_only_where_there_are_any() -> None:
    cell = CellConfig(method=GCEConfig(truncated=True))
    fast, smoke = (apply_profile(cell, name).method for name in ("fast", "smoke"))
    assert (fast.prune_every, smoke.prune_every) == (5, 3)  # type: ignore[union-attr]
    plain = CellConfig(method=GCEConfig())
    assert apply_profile(plain, "fast").method == plain.method


# Symmetric cross entropy


@pytest.mark.parametrize(("alpha", "beta", "log_zero"), [(0.1, 1.0, -4.0), (6.0, 0.1, -9.21)])
def test_symmetric_cross_entropy_is_its_two_sums_over_classes(
    alpha: float, beta: float, log_zero: float
) -> None:
    logits, y = random_logits(), some_labels()
    q, target = softmax(logits), np.eye(4)[y.numpy()]
    log_target = np.where(target > 0, 0.0, log_zero)
    forward, reverse = -(target * np.log(q)).sum(1), -(q * log_target).sum(1)
    found = sce_loss(logits, y, alpha=alpha, beta=beta, log_zero=log_zero)
    np.testing.assert_allclose(found, alpha * forward + beta * reverse, rtol=1e-12)


@pytest.mark.parametrize("beta", [1.0, 0.1])
def test_the_symmetric_slope_is_cross_entropys_times_the_reported_weight(beta: float) -> None:
    logits, y = random_logits().requires_grad_(), some_labels()
    numbers = {"alpha": 0.1, "beta": beta, "log_zero": -4.0}
    (found,) = torch.autograd.grad(sce_loss(logits, y, **numbers).sum(), logits)
    (plain,) = torch.autograd.grad(cross_entropy(logits, y).sum(), logits)
    weight = sce_factor(logits.detach(), y, **numbers)
    torch.testing.assert_close(found, weight[:, None] * plain)
    assert torch.autograd.gradcheck(partial(sce_loss, y=y, **numbers), (logits,))


def test_the_released_log_zero_is_the_natural_logarithm_of_its_clip() -> None:
    cell = native_recipe(CellConfig(method=SCEConfig(recipe="native")))
    assert cell.method.log_zero == math.log(1e-4)  # type: ignore[union-attr]
    assert SCEConfig().log_zero == -4


def test_symmetric_cross_entropy_without_a_loss_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"forward_share=0 and reverse_share=0.*0\.1 and 1"):
        SCEConfig(forward_share=0, reverse_share=0)


ROBUST = [
    partial(gce_loss, power=0.7),
    partial(gce_loss, power=0.05),
    partial(sce_loss, alpha=0.1, beta=1.0, log_zero=-4.0),
]


@pytest.mark.parametrize("loss", ROBUST)
@pytest.mark.parametrize("logits", [HOPELESS, CERTAIN])
def test_robust_losses_are_finite_at_the_ends(loss: Any, logits: list[float]) -> None:
    assert torch.isfinite(loss(torch.tensor([logits]), torch.tensor([0]))).all()
    assert torch.isfinite(slope(loss, logits)).all()


@pytest.mark.parametrize(
    ("case", "loss"),
    [
        (("gce", {}), ROBUST[0]),
        (("gce", {"loss_power": 0.05}), ROBUST[1]),
        (("sce", {}), ROBUST[2]),
        (
            ("sce", {"forward_share": 6.0, "reverse_share": 0.1, "log_zero": -2.0}),
            partial(sce_loss, alpha=6.0, beta=0.1, log_zero=-2.0),
        ),
    ],
)
def test_a_robust_step_follows_the_mean_of_its_loss(case: Any, loss: Any) -> None:
    method, before, batch = step_and_copy(case)
    check_params(method.model, after_step(before, loss(before(batch.x), batch.y).mean(), 0.02))


# Early-learning regularization


def reference_elr(
    logits: Any, y: Any, targets: Any, *, beta: float, hold: float
) -> tuple[Any, Any, Any]:
    """Return losses, slopes by the logits and new targets, by NumPy and without autograd.

    The slope of log(1 − ⟨t, p⟩) by z_k is −p_k (t_k − ⟨t, p⟩) / (1 − ⟨t, p⟩), and clamping takes
    a clamped p_k's share of it away.
    """
    q = softmax(logits)
    p, free = np.clip(q, 1e-4, 1 - 1e-4), (q >= 1e-4) & (q <= 1 - 1e-4)
    targets = beta * targets + (1 - beta) * p / p.sum(1, keepdims=True)
    inner = (targets * p).sum(1, keepdims=True)
    one_hot = np.eye(q.shape[1])[y]
    losses = -(one_hot * np.log(q)).sum(1) + hold * np.log(1 - inner[:, 0])
    open_targets = targets * free
    through_q = q * (open_targets - (open_targets * q).sum(1, keepdims=True))
    slopes = q - one_hot - hold * through_q / (1 - inner)
    return losses, slopes, targets


def test_elr_is_its_two_equations_over_three_visits() -> None:
    y, targets = some_labels(), torch.zeros(12, 4, dtype=torch.float64)
    expected_targets = targets.numpy()
    for visit in range(3):
        logits = (random_logits(spread=6.0) + visit).roll(visit, dims=1).requires_grad_()
        losses, slopes, expected_targets = reference_elr(
            logits.detach(), y.numpy(), expected_targets, beta=0.7, hold=3.0
        )
        targets = moved_targets(targets, clamped(logits), momentum=0.7)
        found = elr_loss(logits, y, targets, hold=3.0)
        (slope_found,) = torch.autograd.grad(found.sum(), logits)
        np.testing.assert_allclose(targets, expected_targets, rtol=1e-12)
        np.testing.assert_allclose(found.detach(), losses, rtol=1e-10)
        np.testing.assert_allclose(slope_found, slopes, rtol=1e-8, atol=1e-12)
    assert (softmax(random_logits(spread=6.0)) < 1e-4).any()  # the clamp was at work


def test_a_targets_outputs_sum_to_one_again_after_the_clamp() -> None:
    outputs = clamped(torch.tensor([[30.0, 0.0, 0.0]], dtype=torch.float64))
    assert float(outputs.sum()) == pytest.approx(1 + 1e-4)
    moved = moved_targets(torch.zeros(1, 3, dtype=torch.float64), outputs, momentum=0.0)
    assert float(moved.sum()) == pytest.approx(1, abs=1e-12)


def test_elr_without_its_term_is_cross_entropy() -> None:
    method, before, batch = step_and_copy(("elr", {"hold": 0.0}))
    loss = F.cross_entropy(before(batch.x), batch.y)
    check_params(method.model, after_step(before, loss, 0.02))


@pytest.mark.parametrize("logits", [HOPELESS, CERTAIN])
def test_elr_is_finite_where_the_target_is_certain(logits: list[float]) -> None:
    targets = moved_targets(torch.zeros(1, 3), clamped(torch.tensor([logits])), momentum=0.0)
    loss = partial(elr_loss, targets=targets, hold=3.0)
    assert torch.isfinite(loss(torch.tensor([logits]), torch.tensor([0]))).all()
    assert torch.isfinite(slope(loss, logits)).all()


def test_an_elr_step_moves_the_targets_of_its_batch_alone_and_uses_the_moved_ones() -> None:
    method, before, batch = step_and_copy(("elr", {"target_momentum": 0.4, "hold": 2.0}))
    targets = method.state.state_dict()["targets"]
    p = before(batch.x).softmax(1).clamp(1e-4, 1 - 1e-4)
    t = 0.6 * (p / p.sum(1, keepdim=True)).detach()
    loss = F.cross_entropy(before(batch.x), batch.y) + 2 * (1 - (t * p).sum(1)).log().mean()
    check_params(method.model, after_step(before, loss, 0.02))
    torch.testing.assert_close(targets[batch.index], t)
    rest = torch.ones(NUM_SAMPLES, dtype=torch.bool)
    rest[batch.index] = False
    assert not targets[rest].any()


def test_elr_reports_how_far_the_given_label_is_believed() -> None:
    method: Any = toy(("elr", {}))
    method.start_epoch(0)
    for batch in batches(10):
        metrics = method.step(batch, None)
    targets = method.state.state_dict()["targets"]
    assert torch.equal(metrics["weight"], targets[batch.index, labels()[batch.index]])


# Recipes


@pytest.mark.parametrize(
    ("config", "at", "rates"),
    [
        (GCEConfig(), (0, 39, 40, 79, 80), [1e-2, 1e-2, 1e-3, 1e-3, 1e-4]),
        (SCEConfig(), (0, 39, 40, 79, 80), [1e-2, 1e-2, 1e-3, 1e-3, 1e-4]),
        (ELRConfig(), (0, 39, 40, 79, 80), [2e-2, 2e-2, 2e-4, 2e-4, 2e-6]),
    ],
)
def test_the_published_recipes_drop_at_epochs_40_and_80_of_120(
    config: Any, at: tuple[int, ...], rates: list[float]
) -> None:
    recipe = config.native
    assert (recipe.epochs, recipe.batch_size, recipe.momentum) == (120, 128, 0.9)
    assert [recipe.lr_at(epoch) for epoch in at] == pytest.approx(rates)


def test_the_published_recipe_of_generalized_cross_entropy_is_the_truncated_one() -> None:
    method = native_recipe(CellConfig(method=GCEConfig(recipe="native"))).method
    assert isinstance(method, GCEConfig)
    assert method.truncated
