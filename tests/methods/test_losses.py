"""The mathematics of the methods that only change the loss of a sample; LDAM is in test_ldam.py."""

import math
from copy import deepcopy
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from first_step import after_step, check_params, random_logits, some_labels, step_and_copy
from pydantic import ValidationError
from toy import NUM_CLASSES, batches, labels, new_model, toy, toy_parts

from curvetune import methods
from curvetune.config import (
    METHOD_SECTIONS,
    BootstrappingConfig,
    CellConfig,
    ClassBalancedConfig,
    FocalConfig,
    LDAMDRWConfig,
)
from curvetune.config.load import full_key
from curvetune.config.profiles import native_recipe
from curvetune.methods.base import effective_number_weights
from curvetune.methods.bootstrapping import bootstrapping_loss, given_weight
from curvetune.methods.class_balanced import class_weighted_loss
from curvetune.methods.cross_entropy import cross_entropy
from curvetune.methods.focal import focal_factor, focal_loss, sigmoid_factor
from curvetune.methods.shared.objective import SampleLoss
from curvetune.methods.shared.one_vs_rest import one_vs_rest_loss
from curvetune.models import last_layer

# CIFAR-10 of imbalance 100; the weights are Eq. 2 of Cui et al., CVPR 2019, rescaled to sum to 10.
COUNTS = torch.tensor([4900, 2937, 1760, 1055, 632, 379, 227, 136, 81, 49])
GOLDEN_WEIGHTS = {
    0.9999: [0.0503, 0.0766, 0.1208, 0.1947, 0.3183, 0.5241, 0.8685, 1.4430, 2.4162, 3.9877],
    0.999: [0.1779, 0.1864, 0.2132, 0.2708, 0.3767, 0.5595, 0.8690, 1.3879, 2.2681, 3.6905],
}


def sigmoid(z: float) -> float:
    return 1 / (1 + math.exp(-z))


# Class-balanced


@pytest.mark.parametrize("beta", GOLDEN_WEIGHTS)
def test_class_weights_are_the_published_ones_and_sum_to_the_number_of_classes(
    beta: float,
) -> None:
    found = effective_number_weights(COUNTS, beta)
    torch.testing.assert_close(found, torch.tensor(GOLDEN_WEIGHTS[beta]), rtol=0, atol=1e-4)
    assert float(found.sum()) == pytest.approx(10)


def test_class_weights_go_from_all_alike_to_the_inverse_of_the_counts() -> None:
    torch.testing.assert_close(effective_number_weights(COUNTS, 0.0), torch.ones(10))
    inverse = 1 / COUNTS.double()
    expected = (10 * inverse / inverse.sum()).float()
    found = effective_number_weights(COUNTS, 1 - 1e-9)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=0)


def test_the_class_balanced_mean_divides_by_the_batch_and_not_by_the_weights() -> None:
    logits, y = random_logits(), some_labels()
    weights = torch.tensor([0.1, 0.5, 1.4, 2.0], dtype=torch.float64)
    found = class_weighted_loss(logits, y, base=cross_entropy, class_weights=weights).mean()
    total = F.cross_entropy(logits, y, weight=weights, reduction="sum")
    torch.testing.assert_close(found, total / len(y))


def test_a_class_balanced_step_weighs_by_the_counts_of_given_labels() -> None:
    method, before, batch = step_and_copy(("class-balanced", {"beta": 0.9}))
    counts = [int((labels() == k).sum()) for k in range(NUM_CLASSES)]
    raw = torch.tensor([0.1 / (1 - 0.9**n) for n in counts])
    weights = raw * NUM_CLASSES / raw.sum()
    total = F.cross_entropy(before(batch.x), batch.y, weight=weights, reduction="sum")
    check_params(method.model, after_step(before, total / len(batch.y), 0.02))


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("alpha", [None, 0.25])
def test_one_against_the_rest_is_a_sum_over_classes(gamma: float, alpha: float | None) -> None:
    logits, y = random_logits(), some_labels()
    expected = []
    for row, label in zip(logits.tolist(), y.tolist(), strict=True):
        total = 0.0
        for k, z in enumerate(row):
            p = sigmoid(z) if k == label else 1 - sigmoid(z)
            share = 1.0 if alpha is None else alpha if k == label else 1 - alpha
            total -= share * (1 - p) ** gamma * math.log(p)
        expected.append(total)
    found = one_vs_rest_loss(logits, y, gamma=gamma, alpha=alpha)
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))


def test_one_against_the_rest_without_a_power_is_binary_cross_entropy() -> None:
    logits, y = random_logits(spread=30.0).float(), some_labels()
    expected = F.binary_cross_entropy_with_logits(
        logits, F.one_hot(y, 4).float(), reduction="none"
    ).sum(dim=1)
    torch.testing.assert_close(one_vs_rest_loss(logits, y), expected)


ONE_VS_REST = [
    ("class-balanced", {"base": "sigmoid", "beta": 0.0}),
    ("class-balanced", {"base": "focal", "beta": 0.0}),
    ("focal", {"focal_form": "sigmoid", "focal_alpha": 0.25}),
]


@pytest.mark.parametrize(("name", "options"), ONE_VS_REST)
def test_a_classifier_of_sigmoids_starts_at_the_prior(name: str, options: dict[str, Any]) -> None:
    parts = toy_parts(METHOD_SECTIONS[name](**options))
    layer: Any = last_layer(methods.build(METHOD_SECTIONS[name](**options), parts).model)
    nothing_seen = layer(torch.zeros(1, layer.in_features)).sigmoid()
    torch.testing.assert_close(nothing_seen, torch.full((1, NUM_CLASSES), 1 / NUM_CLASSES))


@pytest.mark.parametrize(
    ("name", "options", "power"),
    [(*case, power) for case, power in zip(ONE_VS_REST, [0.0, 1.0, 2.0], strict=True)],
)
def test_only_the_last_bias_of_a_classifier_of_sigmoids_has_no_weight_decay(
    name: str, options: dict[str, Any], power: float
) -> None:
    parts = toy_parts(METHOD_SECTIONS[name](**options))
    method, batch = methods.build(METHOD_SECTIONS[name](**options), parts), batches(1)[0]
    bias: Any = last_layer(method.model).bias
    with torch.no_grad():
        bias.fill_(1.0)  # its decay would be 20 times what `check_params` forgives
    before = deepcopy(method.model)
    method.start_epoch(0)
    method.step(batch, None)
    alpha = options.get("focal_alpha")
    loss = one_vs_rest_loss(before(batch.x), batch.y, gamma=power, alpha=alpha).mean()
    spared: Any = last_layer(before).bias
    check_params(method.model, after_step(before, loss, 0.02, spared=spared))


def test_the_learning_rate_of_the_last_bias_drops_too() -> None:
    method: Any = toy(("class-balanced", {"base": "sigmoid"}))
    method.start_epoch(2)
    rates = [group["lr"] for group in method._optimizer.param_groups]
    assert rates == [pytest.approx(0.002)] * 2


def test_the_softmax_base_leaves_the_common_start_alone() -> None:
    for name in ("class-balanced", "focal", "bootstrapping"):
        model = toy((name, {})).model
        pairs = zip(model.parameters(), new_model().parameters(), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)


# Focal


def test_focal_loss_without_a_power_is_cross_entropy() -> None:
    logits, y = random_logits(), some_labels()
    expected = F.cross_entropy(logits, y, reduction="none")
    torch.testing.assert_close(focal_loss(logits, y, gamma=0.0), expected, rtol=0, atol=1e-6)


def test_focal_loss_of_a_probability_of_one_half_is_a_quarter_of_log_two() -> None:
    logits = torch.tensor([[1.0, 1.0]])
    found = focal_loss(logits, torch.tensor([0]), gamma=2.0)
    assert float(found) == pytest.approx(0.25 * math.log(2))
    assert float(found) == pytest.approx(0.1733, abs=5e-5)


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
def test_focal_loss_is_its_formula(gamma: float) -> None:
    logits, y = random_logits(), some_labels()
    q = logits.softmax(dim=1)[torch.arange(12), y]
    torch.testing.assert_close(focal_loss(logits, y, gamma=gamma), -((1 - q) ** gamma) * q.log())
    torch.testing.assert_close(focal_factor(logits, y, gamma=gamma), (1 - q) ** gamma)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("loss", [focal_loss, one_vs_rest_loss])
def test_focal_slopes_agree_with_finite_differences(loss: Any, gamma: float) -> None:
    logits = random_logits(6).requires_grad_()
    assert torch.autograd.gradcheck(partial(loss, y=some_labels(6), gamma=gamma), (logits,))


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("loss", [focal_loss, one_vs_rest_loss])
@pytest.mark.parametrize("size", [20.0, 200.0, 1e4])
def test_focal_loss_and_slope_vanish_where_the_label_is_certain(
    loss: Any, gamma: float, size: float
) -> None:
    logits = torch.tensor([[size, -size, -size]], requires_grad=True)
    value = loss(logits, torch.tensor([0]), gamma=gamma)
    value.sum().backward()
    assert logits.grad is not None
    torch.testing.assert_close(value, torch.zeros(1), rtol=0, atol=1e-6)
    torch.testing.assert_close(logits.grad, torch.zeros(1, 3), rtol=0, atol=1e-6)


@pytest.mark.parametrize("loss", [focal_loss, one_vs_rest_loss])
def test_focal_loss_is_finite_where_the_label_is_hopeless(loss: Any) -> None:
    logits = torch.tensor([[-1e4, 1e4, 0.0]], requires_grad=True)
    value = loss(logits, torch.tensor([0]), gamma=2.0)
    value.sum().backward()
    assert logits.grad is not None
    assert float(value.detach()) >= 1e4
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("form", ["softmax", "sigmoid"])
def test_the_focal_weight_is_the_factor_of_the_given_class(form: str) -> None:
    method, batch = toy(("focal", {"focal_form": form, "focal_gamma": 1.5})), batches(1)[0]
    with torch.no_grad():
        logits = deepcopy(method.model)(batch.x)
    p = (logits.softmax(1) if form == "softmax" else logits.sigmoid())[torch.arange(20), batch.y]
    method.start_epoch(0)
    weight = method.step(batch, None)["weight"]
    torch.testing.assert_close(weight, (1 - p) ** 1.5, rtol=1e-4, atol=1e-6)
    assert float(sigmoid_factor(torch.zeros(1, 3), torch.tensor([1]), gamma=2.0)) == 0.25


def test_alpha_without_a_class_against_the_rest_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"focal_alpha=0\.25.*set focal_form=sigmoid"):
        FocalConfig(focal_alpha=0.25)


# Bootstrapping

KINDS = ["soft", "hard"]


@pytest.mark.parametrize("kind", KINDS)
def test_bootstrapping_on_the_given_label_alone_is_cross_entropy(kind: str) -> None:
    logits, y = random_logits(), some_labels()
    expected = F.cross_entropy(logits, y, reduction="none")
    torch.testing.assert_close(bootstrapping_loss(logits, y, kind=kind, beta=1.0), expected)
    torch.testing.assert_close(
        given_weight(logits, y, kind=kind, beta=1.0), torch.ones(12, dtype=torch.float64)
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("beta", [0.0, 0.5, 0.8])
def test_bootstrapping_is_its_sum_over_classes(kind: str, beta: float) -> None:
    logits, y = random_logits(), some_labels()
    losses, weights = [], []
    for q, label in zip(logits.softmax(1).tolist(), y.tolist(), strict=True):
        said = q if kind == "soft" else [float(p == max(q)) for p in q]
        target = [beta * (k == label) + (1 - beta) * said[k] for k in range(4)]
        losses.append(-sum(t * math.log(p) for t, p in zip(target, q, strict=True)))
        weights.append(target[label])
    expected = torch.tensor([losses, weights], dtype=torch.float64)
    torch.testing.assert_close(bootstrapping_loss(logits, y, kind=kind, beta=beta), expected[0])
    torch.testing.assert_close(given_weight(logits, y, kind=kind, beta=beta), expected[1])


def test_the_hard_target_is_a_mixture_of_two_one_hots() -> None:
    logits = torch.tensor([[2.0, 0.0, 1.0], [2.0, 0.0, 1.0]])
    y = torch.tensor([1, 0])
    targets = torch.tensor([[0.2, 0.8, 0.0], [1.0, 0.0, 0.0]])
    found = bootstrapping_loss(logits, y, kind="hard", beta=0.8)
    torch.testing.assert_close(found, F.cross_entropy(logits, targets, reduction="none"))


def test_the_soft_form_is_cross_entropy_and_the_entropy_of_what_the_classifier_says() -> None:
    logits, y = random_logits().requires_grad_(), some_labels()
    entropy = torch.distributions.Categorical(logits=logits).entropy()
    expected = 0.95 * F.cross_entropy(logits, y, reduction="none") + 0.05 * entropy
    found = bootstrapping_loss(logits, y, kind="soft", beta=0.95)
    torch.testing.assert_close(found, expected)
    slopes = [torch.autograd.grad(loss.sum(), logits)[0] for loss in (found, expected)]
    torch.testing.assert_close(*slopes)


@pytest.mark.parametrize("kind", KINDS)
def test_bootstrapping_slopes_agree_with_finite_differences(kind: str) -> None:
    loss = partial(bootstrapping_loss, y=some_labels(6), kind=kind, beta=0.5)
    assert torch.autograd.gradcheck(loss, (random_logits(6).requires_grad_(),))


def test_detached_the_target_is_a_fixed_one() -> None:
    logits, y = random_logits().requires_grad_(), some_labels()
    target = 0.5 * F.one_hot(y, 4) + 0.5 * logits.detach().softmax(1)
    fixed = bootstrapping_loss(logits, y, kind="soft", beta=0.5, detach=True)
    whole = bootstrapping_loss(logits, y, kind="soft", beta=0.5)
    torch.testing.assert_close(fixed, whole)
    slope, other = (torch.autograd.grad(loss.sum(), logits)[0] for loss in (fixed, whole))
    torch.testing.assert_close(slope, (logits.softmax(1) - target).detach())
    assert not torch.allclose(slope, other)


def test_the_share_of_the_given_label_is_as_published_unless_set() -> None:
    assert BootstrappingConfig().given_share == 0.95
    assert BootstrappingConfig(bootstrap="hard").given_share == 0.8
    assert BootstrappingConfig(bootstrap="hard", bootstrap_beta=0.0).given_share == 0.0


def test_there_is_nothing_to_detach_from_a_hard_target() -> None:
    with pytest.raises(ValidationError, match=r"detach=True.*set bootstrap=soft"):
        BootstrappingConfig(bootstrap="hard", detach=True)


@pytest.mark.parametrize(
    ("options", "loss"),
    [
        ({}, partial(bootstrapping_loss, kind="soft", beta=0.95)),
        ({"detach": True}, partial(bootstrapping_loss, kind="soft", beta=0.95, detach=True)),
        ({"bootstrap": "hard"}, partial(bootstrapping_loss, kind="hard", beta=0.8)),
        ({"bootstrap_beta": 0.3}, partial(bootstrapping_loss, kind="soft", beta=0.3)),
    ],
)
def test_a_bootstrapping_step_follows_the_mean_of_its_loss(
    options: dict[str, Any], loss: SampleLoss
) -> None:
    method, before, batch = step_and_copy(("bootstrapping", options))
    check_params(method.model, after_step(before, loss(before(batch.x), batch.y).mean(), 0.02))


# Recipes


@pytest.mark.parametrize("config", [ClassBalancedConfig(), FocalConfig(), LDAMDRWConfig()])
def test_the_published_recipe_is_that_of_the_long_tail_repositories(config: Any) -> None:
    recipe = config.native
    found = [recipe.lr_at(epoch) for epoch in (0, 4, 159, 160, 179, 180, 199)]
    assert found == pytest.approx([0.02, 0.1, 0.1, 1e-3, 1e-3, 1e-5, 1e-5])
    assert (recipe.epochs, recipe.batch_size, recipe.first_drop) == (200, 128, 160)
    assert (recipe.momentum, recipe.nesterov, recipe.weight_decay) == (0.9, False, 2e-4)


def test_the_published_recipe_of_focal_loss_has_a_power_of_one() -> None:
    cell = native_recipe(CellConfig(method=FocalConfig(recipe="native")))
    assert isinstance(cell.method, FocalConfig)
    assert (cell.method.focal_gamma, cell.allocate.first_drop) == (1.0, 160)
    assert FocalConfig().focal_gamma == 2.0


def test_no_option_of_a_loss_hides_the_short_name_of_another_option() -> None:
    for short, key in {"gamma": "allocate.gamma", "focal_gamma": "method.focal_gamma"}.items():
        assert full_key(short, "--set") == key
