"""ELR+ against its paper's equations, in NumPy and float64."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from toy import NUM_CLASSES, NUM_SAMPLES, batches, toy_parts, toy_set
from two_networks import (
    assert_parameters,
    copies,
    draws_of,
    log_softmax,
    probabilities,
    rand,
    softmax,
)

from curvetune import methods
from curvetune.config import ELRPlusConfig
from curvetune.methods.elr_plus import moved_targets, ramp_up, regularised_loss
from curvetune.methods.shared.average import Average
from curvetune.methods.shared.mixup import MixUp


def test_the_regularised_loss_is_that_of_the_papers_equations() -> None:
    z, y, t = 4 * rand(6, 4), probabilities(6, 4, seed=1), 0.7 * probabilities(6, 4, seed=2)
    p = softmax(z).clip(1e-4, 1 - 1e-4)
    expected = -(y.numpy() * log_softmax(z)).sum(axis=1).mean()
    expected += 3 * np.log(1 - (t.numpy() * p).sum(axis=1)).mean()
    found = regularised_loss(z, y, t, torch.tensor(3.0))
    assert float(found) == pytest.approx(expected, rel=1e-10)


def test_a_sure_prediction_that_is_its_target_has_a_finite_loss_and_gradient() -> None:
    z = torch.tensor([[40.0, 0.0, 0.0]], requires_grad=True)
    sure = torch.tensor([[1.0, 0.0, 0.0]])
    loss = regularised_loss(z, sure, sure, torch.tensor(3.0))
    (slope,) = torch.autograd.grad(loss, z)
    assert float(loss.detach()) == pytest.approx(3 * np.log(1e-4), rel=1e-3)
    assert torch.isfinite(slope).all()


def test_the_ramp_and_the_moving_average_are_those_of_the_released_code() -> None:
    for current in (0.0, 10.0, 39.0, 40.0, 90.0):
        phase = 1.0 - min(current, 40.0) / 40.0
        found = float(ramp_up(torch.tensor(current / 40)))
        assert found == pytest.approx(np.exp(-5.0 * phase * phase))
    one, other = rand(3), rand(3, seed=1)
    np.testing.assert_allclose(
        moved_targets(one, other, 0.7).numpy(), 0.7 * one.numpy() + 0.3 * other.numpy()
    )


def test_an_average_follows_its_schedule() -> None:
    network = nn.Linear(2, 1)
    average = Average(network, 0.9, lambda steps: 0.1 * steps)
    expected = network.weight.detach().clone()
    for step in (1, 2, 3):
        with torch.no_grad():
            network.weight += 1
        average.update()
        expected = 0.1 * step * expected + (1 - 0.1 * step) * network.weight.detach()
        torch.testing.assert_close(average.model.weight, expected)


def test_a_step_holds_each_network_to_the_targets_of_the_others_average() -> None:
    """Against two steps written out, the second with averages that lag behind."""
    config = ELRPlusConfig(average_ramp=0.0, average_decay=0.5)
    method: Any = methods.build(config, toy_parts(config))
    method.start_epoch(0)
    first, batch = batches(2)
    method.step(first, None)
    state = method.state.state_dict()
    networks, same = copies(method.model), draws_of(method)
    averages = [copy.deepcopy(average.model) for average in method._averages]
    targets = state["targets"].clone()
    velocity = [dict(o.state_dict()["state"]) for o in method._optimizers]
    buffers = [[v["momentum_buffer"].clone() for v in each.values()] for each in velocity]
    views = batch.x, toy_set().view(batch.index, same)
    mixup, given = MixUp(1.0, same), F.one_hot(batch.y, NUM_CLASSES).float()
    expected, kept = [], []
    for k, x in enumerate(views):
        with torch.no_grad():
            taught = averages[1 - k](x).softmax(1)
        target = 0.7 * targets[k, batch.index] + 0.3 * taught
        kept.append(target)
        own, other = mixup.draw(len(x))
        z = networks[k](own * x + (1 - own) * x[other])
        y, t = (own * v + (1 - own) * v[other] for v in (given, target))
        p = z.softmax(1).clamp(1e-4, 1 - 1e-4)
        loss = -(y * z.log_softmax(1)).sum(1).mean() + 3 * (1 - (t * p).sum(1)).log().mean()
        named = dict(networks[k].named_parameters())
        after = {}
        slopes = torch.autograd.grad(loss, list(named.values()))
        for (name, value), g, v in zip(named.items(), slopes, buffers[k], strict=True):
            slope = g + 5e-4 * value.detach()
            after[name] = value.detach() - 0.02 * (slope + 0.9 * (0.9 * v + slope))
        expected.append(after)
    metrics = method.step(batch, None)
    for k, network in enumerate(method.model.networks):
        assert_parameters(network, expected[k])
        torch.testing.assert_close(state["targets"][k, batch.index], kept[k])
        mean = {n: (a + expected[k][n]) / 2 for n, a in averages[k].named_parameters()}
        assert_parameters(method._averages[k].model, mean)
    shares = torch.stack(kept).gather(2, batch.y.expand(2, -1)[:, :, None]).mean((0, 2))
    torch.testing.assert_close(metrics["weight"], shares)


def test_the_targets_of_samples_that_were_not_seen_stay() -> None:
    config = ELRPlusConfig()
    method: Any = methods.build(config, toy_parts(config))
    method.start_epoch(0)
    (batch,) = batches(1)
    method.step(batch, None)
    targets = method.state.state_dict()["targets"]
    seen = torch.zeros(NUM_SAMPLES, dtype=torch.bool)
    seen[batch.index] = True
    assert (targets[:, ~seen] == 0).all()
    torch.testing.assert_close(targets[:, seen].sum(2), torch.full((2, 20), 0.3))
