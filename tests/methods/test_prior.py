"""The mathematics of logit adjustment and of balanced softmax."""

import math
from copy import deepcopy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from first_step import after_step, check_params, random_logits, some_labels, step_and_copy
from toy import NUM_CLASSES, NUM_SAMPLES, batches, labels, toy_parts

from curvetune import methods
from curvetune.config import BalancedSoftmaxConfig, CrossEntropyConfig, LogitAdjustmentConfig
from curvetune.methods.shared.prior import log_counts, shifted_cross_entropy
from curvetune.models import last_layer

COUNTS = [int((labels() == k).sum()) for k in range(NUM_CLASSES)]


def test_balanced_softmax_counts_each_class_as_often_as_it_has_samples() -> None:
    logits, y, counts = random_logits(), some_labels(), [500, 60, 7, 1]
    expected = []
    for row, label in zip(logits.tolist(), y.tolist(), strict=True):
        terms = [n * math.exp(z) for n, z in zip(counts, row, strict=True)]
        expected.append(-math.log(terms[label] / sum(terms)))
    shift = log_counts(torch.tensor(counts, dtype=torch.float64))
    found = shifted_cross_entropy(logits, y, shift=shift)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_a_class_without_samples_counts_as_one_with_a_single_sample() -> None:
    found = log_counts(torch.tensor([100.0, 1.0, 0.0]))
    assert found.tolist() == pytest.approx([math.log(100), 0, 0])


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


def test_a_balanced_softmax_step_is_that_of_logit_adjustment_with_tau_1() -> None:
    one, other = (step_and_copy((name, {})) for name in ("balanced-softmax", "logit-adjustment"))
    check_params(one[0].model, list(other[0].model.parameters()))
    plain, _, _ = step_and_copy(("cross-entropy", {}))
    pairs = zip(one[0].model.parameters(), plain.model.parameters(), strict=True)
    assert not all(torch.allclose(a, b) for a, b in pairs)


def test_post_hoc_is_cross_entropys_own_classifier_less_the_shift() -> None:
    """Through a drop of the rate, momentum, and a weight decay that would show in the bias."""
    options: dict[str, Any] = {"mode": "post-hoc", "tau": 1.5}
    recipe: Any = toy_parts(CrossEntropyConfig()).recipe
    heavy = recipe.model_copy(update={"weight_decay": 0.05})
    plain, found = (
        methods.build(config, replace(toy_parts(config), recipe=heavy))
        for config in (CrossEntropyConfig(), LogitAdjustmentConfig(**options))
    )
    losses = []
    for epoch in range(4):
        for method in (plain, found):
            method.start_epoch(epoch)
        for batch in batches(6):
            losses.append([m.step(batch, None)["loss"] for m in (plain, found)])
    for one, other in losses:
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    shift = torch.tensor([1.5 * math.log(n / NUM_SAMPLES) for n in COUNTS])
    expected = deepcopy(plain.model)
    bias: Any = last_layer(expected).bias
    with torch.no_grad():
        bias -= shift
    x = batches(1)[0].x
    for model in (plain.model, found.model, expected):
        model.eval()
    with torch.no_grad():
        torch.testing.assert_close(found.model(x), plain.model(x) - shift, rtol=1e-4, atol=1e-4)
    assert list(found.model.state_dict()) == list(plain.model.state_dict())
    found_bias: Any = last_layer(found.model).bias
    torch.testing.assert_close(found_bias, bias, rtol=1e-4, atol=1e-5)


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
