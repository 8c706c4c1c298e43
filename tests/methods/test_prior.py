"""The mathematics of logit adjustment and of balanced softmax."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from first_step import after_step, check_params, random_logits, some_labels, step_and_copy
from torch import Tensor, nn
from toy import NUM_CLASSES, NUM_SAMPLES, batches, labels, toy_parts

from curvetune import methods
from curvetune.config import BalancedSoftmaxConfig, CrossEntropyConfig, LogitAdjustmentConfig
from curvetune.methods.shared.prior import log_shares, shifted_cross_entropy
from curvetune.models import last_layer

COUNTS = [int((labels() == k).sum()) for k in range(NUM_CLASSES)]


def test_balanced_softmax_counts_each_class_as_often_as_it_has_samples() -> None:
    logits, y, counts = random_logits(), some_labels(), [500, 60, 7, 1]
    expected = []
    for row, label in zip(logits.tolist(), y.tolist(), strict=True):
        terms = [n * math.exp(z) for n, z in zip(counts, row, strict=True)]
        expected.append(-math.log(terms[label] / sum(terms)))
    shift = log_shares(torch.tensor(counts, dtype=torch.float64))
    found = shifted_cross_entropy(logits, y, shift=shift)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_a_class_without_samples_counts_as_one_with_a_single_sample() -> None:
    found = log_shares(torch.tensor([99.0, 1.0, 0.0]))
    assert found.tolist() == pytest.approx([math.log(0.99), math.log(0.01), math.log(0.01)])


WITHOUT_A_CLASS = [
    BalancedSoftmaxConfig(),
    LogitAdjustmentConfig(tau=2.0),
    LogitAdjustmentConfig(mode="post-hoc", tau=2.0),
]


@pytest.mark.parametrize("config", WITHOUT_A_CLASS)
def test_a_class_without_samples_gives_no_infinity(config: Any) -> None:
    y = labels().clamp(max=1)  # nothing is called 2
    parts = replace(toy_parts(config), y=y)
    method = methods.build(config, parts)
    method.start_epoch(0)
    for batch in batches(5):
        metrics = method.step(batch._replace(y=y[batch.index]), None)
    assert torch.isfinite(metrics["loss"]).all()
    assert all(torch.isfinite(param).all() for param in method.model.parameters())
    with torch.no_grad():
        assert torch.isfinite(method.model(batch.x)).all()


@pytest.mark.parametrize("tau", [0.0, 1.0, 1.5])
def test_a_logit_adjusted_step_shifts_logits_by_the_shares_of_given_labels(tau: float) -> None:
    method, before, batch = step_and_copy(("logit-adjustment", {"tau": tau}))
    shift = torch.tensor([tau * math.log(n / NUM_SAMPLES) for n in COUNTS])
    loss = F.cross_entropy(before(batch.x) + shift, batch.y)
    check_params(method.model, after_step(before, loss, 0.02))


def trained(config: Any) -> tuple[nn.Module, list[Tensor]]:
    """Return the classifier in eval mode and the losses, after epochs over a drop of the rate."""
    method = methods.build(config, toy_parts(config))
    losses = []
    for epoch in range(4):
        method.start_epoch(epoch)
        losses += [method.step(batch, None)["loss"] for batch in batches(6)]
    return method.model.eval(), losses


def test_balanced_softmax_is_logit_adjustment_with_tau_1_bit_for_bit() -> None:
    (one, losses), (other, other_losses), (plain, _) = map(
        trained, (BalancedSoftmaxConfig(), LogitAdjustmentConfig(), CrossEntropyConfig())
    )
    assert all(torch.equal(a, b) for a, b in zip(losses, other_losses, strict=True))
    assert same(one.state_dict(), other.state_dict()) == set(one.state_dict())
    assert len(same(one.state_dict(), plain.state_dict())) < len(one.state_dict()) / 2


def test_post_hoc_is_cross_entropys_classifier_bit_for_bit_but_for_its_last_bias() -> None:
    plain, losses = trained(CrossEntropyConfig())
    found, its_losses = trained(LogitAdjustmentConfig(mode="post-hoc", tau=1.5))
    assert all(torch.equal(a, b) for a, b in zip(losses, its_losses, strict=True))
    states = plain.state_dict(), found.state_dict()
    assert list(states[0]) == list(states[1])
    (bias,) = states[0].keys() - same(*states)
    assert states[0][bias].data_ptr() == last_bias(plain).data_ptr()
    shift = torch.tensor([1.5 * math.log(n / NUM_SAMPLES) for n in COUNTS])
    with torch.no_grad():
        x = batches(1)[0].x
        torch.testing.assert_close(found(x), plain(x) - shift)


def last_bias(model: nn.Module) -> Tensor:
    bias = last_layer(model).bias
    assert isinstance(bias, Tensor)
    return bias


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> set[str]:
    """Return the names of the tensors that are equal."""
    return {name for name in one if torch.equal(one[name], other[name])}


def test_the_published_recipe_of_logit_adjustment_is_that_of_its_repository() -> None:
    recipe: Any = LogitAdjustmentConfig.native
    at = (19, 603, 604, 926, 1128, 1240)
    assert [recipe.lr_at(e) for e in at] == pytest.approx([0.1, 0.1, 0.01, 1e-3, 1e-4, 1e-4])
    assert (recipe.epochs, recipe.batch_size, recipe.nesterov) == (1241, 128, True)
    assert recipe.weight_decay == 2 * 1e-4  # Keras's l2 has no 1/2


def test_the_published_recipe_of_balanced_softmax_has_its_steps() -> None:
    recipe: Any = BalancedSoftmaxConfig.native
    kept = sum(int(5000 * (1 / 200) ** (k / 9)) for k in range(10))
    steps_of_an_epoch = math.ceil(kept / recipe.batch_size)
    assert recipe.epochs == math.ceil(13000 / steps_of_an_epoch)
    assert recipe.warmup == math.ceil(800 / steps_of_an_epoch)
    assert recipe.lr_at(recipe.epochs // 2) == pytest.approx(0.05, rel=0.01)
