"""The mathematics of SOP against slow versions of it."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from draws import random, seeded
from slow_meta import LR, double
from torch import Tensor, nn
from toy import (
    NUM_CLASSES,
    NUM_SAMPLES,
    batches,
    new_model,
    toy,
    toy_batch,
)

from curvetune.methods.sop import sop_losses


def test_sops_losses_are_those_of_a_loop_in_words() -> None:
    z, u, v = 2 * random(30, 4), 0.8 * random(30, 1, seed=1), 0.8 * random(30, 4, seed=2)
    y = torch.randint(4, (30,), generator=seeded(3))
    found = sop_losses(z, F.one_hot(y, 4).double(), u, v)
    for i in range(30):
        exps = [math.exp(x) for x in z[i].tolist()]
        q = [x / sum(exps) for x in exps]
        label, said = int(y[i]), q.index(max(q))
        s = [-min(1.0, float(v[i, k]) ** 2) for k in range(4)]
        s[label] = min(1.0, float(u[i]) ** 2)
        moved = [max(q[k] + s[k], 1e-4) for k in range(4)]
        assert float(found.entropy[i]) == pytest.approx(-math.log(moved[label] / sum(moved)))
        distance = sum(((k == said) + s[k] - (k == label)) ** 2 for k in range(4))
        assert float(found.distance[i]) == pytest.approx(distance)


def test_each_variable_of_sop_follows_its_own_loss() -> None:
    z, u, v = (x.requires_grad_() for x in (random(8, 4), random(8, 1), random(8, 4, seed=1)))
    given = F.one_hot(torch.arange(8) % 4, 4).double()
    losses = sop_losses(z, given, 0.3 * u, 0.3 * v)
    for_z, for_u, for_v = torch.autograd.grad(
        losses.entropy.sum(), (z, u, v), retain_graph=True, materialize_grads=True
    )
    assert for_z.any()
    assert for_u.any()
    assert not for_v.any()
    for_z, for_u, for_v = torch.autograd.grad(
        losses.distance.sum(), (z, u, v), materialize_grads=True
    )
    assert not for_z.any()
    assert for_u.any()
    assert for_v.any()


def test_steps_of_sop_are_those_of_sgd_on_all_variables_at_their_own_rates() -> None:
    method: Any = toy(("sop", {}))
    method.model.double()
    u, v = random(NUM_SAMPLES, 1), random(NUM_SAMPLES, NUM_CLASSES, seed=1)
    u, v = 0.3 * u, 0.3 * v
    method._variables = (u.clone(), v.clone())
    twin = new_model().double()
    twin.load_state_dict(method.model.state_dict())
    network = torch.optim.SGD(
        twin.parameters(), lr=LR, momentum=0.9, nesterov=True, weight_decay=5e-4
    )
    dense = [nn.Parameter(u.clone()), nn.Parameter(v.clone())]
    variables = torch.optim.SGD(
        [{"params": dense[:1], "lr": 1.0}, {"params": dense[1:], "lr": 10.0}]
    )
    method.start_epoch(0)
    for batch in map(double, batches(3)):
        method.step(batch, None)
        losses = sop_losses(
            twin(batch.x),
            F.one_hot(batch.y, NUM_CLASSES).double(),
            *(part[batch.index] for part in dense),
        )
        for optimizer in (network, variables):
            optimizer.zero_grad()
        (losses.entropy.mean() + losses.distance.mean()).backward()
        for optimizer in (network, variables):
            optimizer.step()
    for found, expected in zip(method._variables, dense, strict=True):
        torch.testing.assert_close(found, expected.detach())
    for p, q in zip(method.model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(p, q)


class Sure(nn.Module):
    """Says one class, whatever it sees and learns."""

    def __init__(self, says: int) -> None:
        super().__init__()
        self.says = says
        self.nothing = nn.Parameter(torch.zeros(NUM_CLASSES))

    def forward(self, x: Tensor) -> Tensor:
        said = 6.0 * F.one_hot(torch.full((len(x),), self.says), NUM_CLASSES)
        return said + 0 * self.nothing


def test_the_variables_of_sop_take_up_labels_that_the_classifier_contradicts() -> None:
    method: Any = toy(("sop", {}))
    method.model = Sure(says=1)
    for _ in range(60):
        metrics = method.step(toy_batch(torch.arange(20)), None)  # labels 0 and 1 in turn
    u, v = (values**2 for values in method._variables)
    assert (u[0:20:2] > 0.8).all()
    assert (v[0:20:2, 1] > 0.8).all()
    assert (u[1:20:2] < 1e-6).all()
    assert (v[1:20:2] < 1e-6).all()
    assert (metrics["weight"][0::2] < 0.2).all()
    assert (metrics["weight"][1::2] > 0.99).all()
    assert (u[20:] < 1e-12).all()  # what no batch had
