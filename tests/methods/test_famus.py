"""FaMUS: the gates, what they learn from, and the meta gradient that goes through them."""

from typing import Any

import pytest
import torch
from slow_meta import LR, batch_and_meta, double_method, losses_at, relative_error
from torch import Tensor
from toy import batches, new_model, tensors, toy

from curvetune import models
from curvetune.methods.famus import gate_gradient, mismatch_gradient
from curvetune.methods.shared.layer_gates import GateNets, agreement, draw_gates, layers_of, pooled


def force(method: Any, gates: list[bool]) -> None:
    """Make sure that a method draws these gates; its gate networks stop learning."""
    for net, gate in zip(method._sampler.nets.nets, gates, strict=True):
        torch.nn.init.zeros_(net[2].weight)
        net[2].bias.data.copy_(torch.tensor([0.0, 200.0] if gate else [200.0, 0.0]))
    for group in method._sampler._optimizer.param_groups:
        group["lr"] = 0.0


def test_all_gates_open_is_meta_weight_net() -> None:
    famus: Any = toy(("famus without the match", {"match_weight": 0.0}))
    plain: Any = toy(("mw-net-noise", {}))
    force(famus, [True] * 5)
    for batch in batches(3):
        for method in (famus, plain):
            method.start_epoch(0)
            metrics = method.step(batch, batch)
            assert float(metrics.get("open_layers", 5)) == 5
    for part in ("model", "optimizer", "learner"):
        ends = tensors(famus.state.state_dict()[part]), tensors(plain.state.state_dict()[part])
        assert len(ends[0]) == len(ends[1]) > 0
        assert all(torch.equal(a, b) for a, b in zip(*ends, strict=True))


def test_all_gates_shut_is_no_meta_gradient() -> None:
    famus: Any = toy(("famus without the match", {"match_weight": 0.0}))
    force(famus, [False] * 5)
    famus.start_epoch(0)
    metrics = famus.step(*batches(2))
    assert float(metrics["open_layers"]) == 0
    assert all(not p.grad.any() for p in famus._learner.net.parameters())


@pytest.mark.parametrize("match_weight", [0.0, 1000.0])
def test_the_weight_net_learns_through_open_layers_and_from_the_last_layers_match(
    match_weight: float,
) -> None:
    """Against autograd, twice, through a virtual step whose shut layers are held."""
    method = double_method(("famus", {"match_weight": match_weight}))
    gates = [True, False, True, False, True]
    force(method, gates)
    batch, meta = batch_and_meta()
    params, net = dict(method.model.named_parameters()), method._learner.net
    losses = losses_at(method.model, params, batch)
    slopes = torch.autograd.grad(
        (net(losses.detach()) * losses).mean(), list(params.values()), create_graph=True
    )
    ahead = {
        name: p - LR * (g if gates[layer] else g.detach())
        for (name, p), g, layer in zip(params.items(), slopes, layers_of(method.model), strict=True)
    }
    loss = losses_at(method.model, ahead, meta).mean()
    weight, bias = list(ahead.values())[-2:]
    targets = torch.autograd.grad(loss, [weight, bias], retain_graph=True)
    by_class = (slopes[-2] - targets[0]).mean(dim=1).square().mean()
    loss = loss + match_weight * (by_class + (slopes[-1] - targets[1]).square().mean())
    expected = torch.autograd.grad(loss, list(net.parameters()))

    method.step(batch, meta)
    for p, slope in zip(net.parameters(), expected, strict=True):
        assert relative_error(p.grad, slope) < 1e-8


@pytest.mark.parametrize("gates", [[1, 1, 0, 1, 0], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1]])
def test_the_gates_gradient_is_that_of_the_released_rule(gates: list[int]) -> None:
    """An open layer steps along r g, a shut one along (1 − r) g with g held; autograd the rest."""
    model = new_model().double()
    batch, meta = batch_and_meta()
    params = dict(model.named_parameters())
    layers = layers_of(model)
    slopes = torch.autograd.grad(losses_at(model, params, batch).mean(), list(params.values()))
    r = torch.tensor(gates, dtype=torch.float64, requires_grad=True)
    ahead = {
        name: p - LR * (r[k] if gates[k] else 1 - r[k]) * g
        for (name, p), g, k in zip(params.items(), slopes, layers, strict=True)
    }
    meta_loss = losses_at(model, ahead, meta).mean()
    loss = meta_loss + 0.3 * (r.sum() - 2.5) ** 2
    (expected,) = torch.autograd.grad(loss, r, retain_graph=True)

    towards = torch.autograd.grad(meta_loss, list(ahead.values()))
    found = gate_gradient(
        r.detach(), agreement(slopes, towards, layers), lr=LR, open_layers=2.5, open_weight=0.3
    )
    torch.testing.assert_close(found, expected)


def test_the_mismatch_gradient_is_that_of_autograd() -> None:
    generator = torch.Generator().manual_seed(0)
    for shape in ((3, 5), (3,)):
        train = torch.randn(shape, generator=generator, requires_grad=True)
        meta = torch.randn(shape, generator=generator)
        square = (pooled(train) - pooled(meta)).square().mean()
        (expected,) = torch.autograd.grad(square, train)
        torch.testing.assert_close(mismatch_gradient(train.detach(), meta), expected)


def test_resnet32_has_a_gate_for_the_stem_for_every_block_and_for_the_head() -> None:
    model = models.build("resnet32", 10, generator=torch.Generator().manual_seed(0))
    layers = layers_of(model)
    blocks = [k for block in range(1, 16) for k in [block] * 6]  # 2 convolutions, 2 batch norms
    assert layers == [0] * 3 + blocks + [16] * 2


def test_gates_are_drawn_as_often_as_their_scores_say() -> None:
    scores = torch.tensor([[0.0, 0.0], [0.0, 1.0], [2.0, 0.0]]).repeat(4000, 1)
    gates = draw_gates(scores, torch.Generator().manual_seed(0))
    assert set(gates.tolist()) == {0.0, 1.0}
    share = gates.reshape(4000, 3).mean(dim=0)
    torch.testing.assert_close(share, scores[:3].softmax(dim=1)[:, 1], atol=0.025, rtol=0)


def test_a_gate_has_the_gradient_of_its_soft_version() -> None:
    scores = torch.tensor([[0.3, -0.2], [1.0, 0.1]], requires_grad=True)
    draw_gates(scores, torch.Generator().manual_seed(5))[0].backward()
    noise = torch.empty(2, 2).exponential_(generator=torch.Generator().manual_seed(5)).log()
    soft = torch.sigmoid((scores[0, 1] - noise[0, 1]) - (scores[0, 0] - noise[0, 0]))
    (expected,) = torch.autograd.grad(soft, scores)
    torch.testing.assert_close(scores.grad, expected)
    assert expected[0].any()


def gradients(model: torch.nn.Module) -> list[Tensor]:
    generator = torch.Generator().manual_seed(4)
    return [torch.randn(p.shape, generator=generator) for p in model.parameters()]


def test_a_gate_sees_the_gradient_of_its_own_layer_but_not_its_size() -> None:
    model = new_model()
    layers, slopes = layers_of(model), gradients(model)
    nets = GateNets([len(g) for g in slopes], layers, 8, torch.Generator().manual_seed(0))
    scores = nets(slopes)
    assert scores.shape == (5, 2)
    torch.testing.assert_close(nets([1e-4 * g for g in slopes]), scores, rtol=1e-3, atol=1e-4)
    other = [g.flip(0) if layer == 2 else g for g, layer in zip(slopes, layers, strict=True)]
    moved = (nets(other) - scores).abs().sum(dim=1) > 1e-6
    assert moved.tolist() == [False, False, True, False, False]
    assert torch.isfinite(nets([torch.zeros_like(g) for g in slopes])).all()


@pytest.mark.parametrize("aim", [1.0, 4.0])
def test_the_gates_learn_to_open_about_as_many_layers_as_asked(aim: float) -> None:
    method: Any = toy(("famus", {"open_layers": aim, "sampler_lr": 0.02}))
    slopes = gradients(method.model)
    counts = [float(method._sampler.update(slopes, slopes, 0.0).sum()) for _ in range(400)]
    assert sum(counts[-100:]) / 100 == pytest.approx(aim, abs=0.4)
