"""The mathematics of the methods that learn sample weights from a meta set."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from toy import (
    CASES,
    METHOD_OF,
    NUM_CLASSES,
    NUM_SAMPLES,
    Case,
    batches,
    labels,
    tensors,
    toy,
    toy_batch,
)

from curvetune.batch import Batch
from curvetune.methods.base import effective_number_weights
from curvetune.methods.curvenet import centre, kept, low_loss_samples
from curvetune.methods.mw_net_noise import LossNet

SLOW = ("mw-net-noise", "curvenet", "cmw-net")  # methods that `slow_step` knows


@pytest.mark.parametrize(
    "case",
    [
        c
        for c in CASES
        if METHOD_OF[c[0]] in SLOW and not {"frozen", "finite", "late"} & set(c[0].split())
    ],
)
def test_the_step_is_that_of_the_paper_done_the_slow_way(case: Case) -> None:
    """Two steps against a version that differentiates twice and shares nothing."""
    fast, slow = toy(case), toy(case)
    generator = torch.Generator().manual_seed(5)
    for epoch, batch in enumerate(batches(2)):
        meta = toy_batch(torch.randperm(NUM_SAMPLES, generator=generator)[:10])
        fast.start_epoch(epoch)
        slow.start_epoch(epoch)
        fast.step(batch, meta)
        slow_step(
            slow,
            batch,
            meta,
            nesterov=case[1].get("virtual_step", "optimizer") == "optimizer"
            and METHOD_OF[case[0]] == "curvenet",
        )
    for a, b in zip(
        tensors(fast.state.state_dict()), tensors(slow.state.state_dict()), strict=True
    ):
        torch.testing.assert_close(a, b, rtol=2e-3, atol=2e-5)


def slow_step(method: Any, batch: Batch, meta: Batch, *, nesterov: bool) -> None:
    """One step of CurveNet-V1, written anew: a virtual copy and a double backward."""
    learner, optimizer, model = method._learner, method._optimizer, method.model
    group = optimizer.param_groups[0]
    params = dict(model.named_parameters())
    stats = {name: b.clone() for name, b in model.named_buffers()}
    losses = F.cross_entropy(
        torch.func.functional_call(model, params | stats, (batch.x,)), batch.y, reduction="none"
    )
    weights = learner._weigh(batch, losses.detach())
    slopes = torch.autograd.grad(
        (weights * losses).mean(), list(params.values()), create_graph=True
    )
    ahead = {}
    for (name, p), slope in zip(params.items(), slopes, strict=True):
        step = slope
        if nesterov:
            step = slope + group["weight_decay"] * p
            buffer = optimizer.state[p].get("momentum_buffer") if optimizer.state[p] else None
            moving = step if buffer is None else step + group["momentum"] * buffer
            step = step + group["momentum"] * moving
        ahead[name] = p - group["lr"] * step
    stats = {name: b.clone() for name, b in model.named_buffers()}
    meta_loss = F.cross_entropy(torch.func.functional_call(model, ahead | stats, (meta.x,)), meta.y)
    learner._optimizer.zero_grad()
    net_slopes = torch.autograd.grad(meta_loss, list(learner.net.parameters()))
    for p, slope in zip(learner.net.parameters(), net_slopes, strict=True):
        p.grad = slope
    learner._optimizer.step()
    logits = model(batch.x)
    losses = F.cross_entropy(logits, batch.y, reduction="none")
    with torch.no_grad():
        weights = learner._weigh(batch, losses)
    optimizer.zero_grad()
    (weights * losses).mean().backward()
    optimizer.step()
    if hasattr(method, "_weights"):
        method._weights[batch.index] = weights


def test_mw_nets_weight_net_has_one_hidden_layer_and_a_sigmoid() -> None:
    net = LossNet(100, torch.Generator().manual_seed(0))
    assert [tuple(p.shape) for p in net.parameters()] == [(100, 1), (100,), (1, 100), (1,)]
    weights = net(torch.tensor([0.0, 5.0, 1e6]))
    assert weights.shape == (3,)
    assert ((weights >= 0) & (weights <= 1)).all()


def test_the_real_step_leaves_the_weight_net_alone() -> None:
    method: Any = toy(("curvenet", {"removed_losses": 1}))
    method.start_epoch(5)  # CurveNet no longer learns
    before = [p.clone() for p in method._learner.net.parameters()]
    method.step(batches(1)[0], None)
    assert all(
        torch.equal(a, b) for a, b in zip(before, method._learner.net.parameters(), strict=True)
    )


@pytest.mark.parametrize("name", ["curvenet", "mw-net-noise", "mw-net-imb", "cmw-net"])
def test_a_step_without_a_meta_batch_uses_the_weight_net_as_it_is(name: str) -> None:
    method: Any = toy((name, {"removed_losses": 1} if name == "curvenet" else {}))
    batch = batches(1)[0]
    method.start_epoch(0)
    method.step(batch, batch)
    before = [p.clone() for p in method._learner.net.parameters()]
    metrics = method.step(batch, None)
    assert "meta_loss" not in metrics
    assert torch.equal(metrics["weight"], method._learner.weights(batch, metrics["loss"]))
    assert all(
        torch.equal(a, b) for a, b in zip(before, method._learner.net.parameters(), strict=True)
    )


def test_curvenets_weights_are_constant_once_the_learning_rate_dropped() -> None:
    method: Any = toy(("curvenet", {"removed_losses": 1}))
    for epoch in (0, 1):
        method.start_epoch(epoch)
        for batch in batches(4):
            method.step(batch, batch)
    learned = method._weights.clone()
    seen = []
    for epoch in (2, 3):
        method.start_epoch(epoch)
        seen += [(batch.index, method.step(batch, None)["weight"]) for batch in batches(4)]
    assert all(torch.equal(learned[index], weights) for index, weights in seen)
    assert not torch.equal(learned, torch.ones(NUM_SAMPLES))


def test_deferred_reweighting_starts_one_epoch_after_the_drop_and_counts_given_labels() -> None:
    weights = []
    for epoch in (2, 3):
        method: Any = toy(("curvenet", {"removed_losses": 1, "drw": True}))
        plain: Any = toy(("curvenet", {"removed_losses": 1}))
        for m in (method, plain):
            m.start_epoch(epoch)
            m.step(batches(1)[0], None)
        pairs = zip(method.model.parameters(), plain.model.parameters(), strict=True)
        weights.append(all(torch.equal(a, b) for a, b in pairs))
    assert weights == [True, False]
    counts = torch.bincount(labels(), minlength=NUM_CLASSES)
    torch.testing.assert_close(method._class_weights, effective_number_weights(counts, 0.9999))


def test_effective_number_weights_are_those_of_the_class_balanced_paper() -> None:
    counts = torch.tensor([4900, 2937, 1760, 1055, 632, 379, 227, 136, 81, 49])
    golden = [0.0503, 0.0766, 0.1208, 0.1947, 0.3183, 0.5241, 0.8685, 1.4430, 2.4162, 3.9877]
    found = effective_number_weights(counts, 0.9999)
    torch.testing.assert_close(found, torch.tensor(golden), rtol=0, atol=1e-4)
    assert float(found.sum()) == pytest.approx(10)
    torch.testing.assert_close(effective_number_weights(counts, 0.0), torch.ones(10))
    empty = effective_number_weights(torch.tensor([0, 5]), 0.9999)
    assert torch.isfinite(empty).all()


def test_curves_lose_their_first_and_last_values_on_reading() -> None:
    curves = torch.arange(600.0).reshape(2, 300)
    assert kept(curves, 5, True).shape == (2, 294)
    assert torch.equal(kept(curves, 5, True), curves[:, 5:299])
    assert torch.equal(kept(curves, 3, False), curves[:, 3:])


def test_centred_curves_have_mean_zero_in_every_class_and_epoch() -> None:
    generator = torch.Generator().manual_seed(0)
    curves, y = torch.rand(50, 7, generator=generator), torch.arange(50) % 4
    centred = centre(curves, y, 5)  # class 4 is empty
    scaled = centre(curves, y, 5, "mean_std")
    for k in range(4):
        members = curves[y == k]
        torch.testing.assert_close(centred[y == k], members - members.mean(0))
        expected = (members - members.mean(0)) / members.std(0, correction=0)
        torch.testing.assert_close(scaled[y == k], expected, rtol=1e-4, atol=1e-5)


def test_the_low_loss_samples_are_the_lowest_of_each_class() -> None:
    curves = torch.tensor([[5.0, 5], [1, 1], [3, 3], [2, 2], [9, 9], [0, 9]])
    y = torch.tensor([0, 0, 0, 1, 1, 1])
    assert low_loss_samples(curves, y, 3, 2).tolist() == [1, 2, 3, 5]
    assert low_loss_samples(curves, y, 3, 10).tolist() == [0, 1, 2, 3, 4, 5]
