"""The mathematics of Distill (IEG), against a double backward, loops and TensorFlow's average."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call
from toy import NUM_SAMPLES, batches, labels, new_model, toy, toy_batch

from curvetune.batch import Batch
from curvetune.config import AllocateConfig, DistillConfig
from curvetune.meta import forward
from curvetune.methods.distill import (
    Distill,
    clean_slopes,
    distilled_shares,
    distilled_weights,
    divergence,
    guess,
    mixup,
)
from curvetune.methods.shared.average import Average

K, SIZE = 3, 6


def random_batch(seed: int, size: int = SIZE) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(size, 1, 8, 8, generator=generator, dtype=torch.float64)
    return Batch(x, torch.randint(K, (size,), generator=generator), torch.arange(size))


def trained(*, nesterov: bool) -> tuple[nn.Module, torch.optim.SGD]:
    """Return a network in float64 and its optimizer, whose buffers are not empty."""
    model = new_model().double()
    optimizer = torch.optim.SGD(
        model.parameters(), 0.01, momentum=0.9, nesterov=nesterov, weight_decay=5e-4
    )
    for seed in (20, 21):
        batch = random_batch(seed)
        optimizer.zero_grad()
        F.cross_entropy(model(batch.x), batch.y).backward()
        optimizer.step()
    return model, optimizer


def run(model: nn.Module, params: dict[str, Tensor], x: Tensor) -> Tensor:
    """Return logits at `params` without a trace in the running statistics."""
    return functional_call(model, params | {n: b.clone() for n, b in model.named_buffers()}, (x,))


def slow_slopes(
    model: nn.Module,
    optimizer: torch.optim.SGD,
    batch: Batch,
    meta: Batch,
    guessed: Tensor,
    lr: float = 0.1,
) -> tuple[Tensor, Tensor]:
    """Return the gradients of weights and label shares, differentiating through the look-ahead."""
    group = optimizer.param_groups[0]
    w = torch.full((len(batch.y), 1), 1 / len(batch.y), dtype=torch.float64, requires_grad=True)
    share = torch.full((len(batch.y), 1), 0.9, dtype=torch.float64, requires_grad=True)
    target = share * torch.eye(K, dtype=torch.float64)[batch.y] + (1 - share) * guessed
    params = dict(model.named_parameters())
    loss = -(w * target * run(model, params, batch.x).log_softmax(1)).sum()
    slopes = torch.autograd.grad(loss, list(params.values()), create_graph=True)
    ahead = {}
    for (name, p), slope in zip(params.items(), slopes, strict=True):
        g = slope + group["weight_decay"] * p.detach()
        buffer = group["momentum"] * optimizer.state[p]["momentum_buffer"] + g
        ahead[name] = p.detach() - lr * (
            g + group["momentum"] * buffer if group["nesterov"] else buffer
        )
    meta_loss = F.cross_entropy(run(model, ahead, meta.x), meta.y)
    by_weight, by_share = torch.autograd.grad(meta_loss, [w, share])
    return by_weight[:, 0], by_share[:, 0]


@pytest.mark.parametrize("nesterov", [False, True])
def test_both_slopes_equal_those_of_a_double_backward(nesterov: bool) -> None:
    model, optimizer = trained(nesterov=nesterov)
    batch, meta = random_batch(1), random_batch(2, size=5)
    guessed = torch.rand(SIZE, K, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    guessed = guessed / guessed.sum(dim=1, keepdim=True)
    given = F.one_hot(batch.y, K).double()
    expected = slow_slopes(model, optimizer, batch, meta, guessed)
    passed = forward(model, batch, update_statistics=False)
    found = clean_slopes(passed, meta, given, guessed, share=0.9, lr=0.1, optimizer=optimizer)
    torch.testing.assert_close(found.weight, expected[0], rtol=1e-8, atol=1e-14)
    torch.testing.assert_close(found.share, expected[1], rtol=1e-8, atol=1e-14)
    assert (expected[0].abs() > 1e-6).all()


def test_weights_are_what_helps_and_sum_to_one() -> None:
    weights = distilled_weights(torch.tensor([-3.0, 2.0, 0.0, -1.0]))
    assert weights.tolist() == [0.75, 0.0, 0.0, 0.25]
    tiny = distilled_weights(torch.tensor([-3e-12, 2.0, -1e-12]))
    torch.testing.assert_close(tiny, torch.tensor([0.75, 0.0, 0.25]))
    assert distilled_weights(torch.tensor([1.0, 0.0])).tolist() == [0.0, 0.0]


def test_label_shares_are_zero_or_one() -> None:
    shares = distilled_shares(torch.tensor([-1e-9, 0.0, 2.0, -5.0]))
    assert shares.tolist() == [1.0, 0.0, 0.0, 1.0]


def test_guessed_labels_are_the_sharpened_mean_over_normalised_views() -> None:
    views = torch.randn(2, 5, K, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = guess(views, 0.5)
    torch.testing.assert_close(found.sum(dim=1), torch.ones(5, dtype=torch.float64))
    scales = [np.sqrt(np.mean(view.numpy() ** 2)) for view in views]
    for i in range(5):
        parts = [np.exp(v[i].numpy() / s) for v, s in zip(views, scales, strict=True)]
        mean = sum(part / part.sum() for part in parts) / 2
        np.testing.assert_allclose(found[i].numpy(), mean**2 / (mean**2).sum(), rtol=1e-6)
    torch.testing.assert_close(guess(100 * views, 0.5), found)  # the scale of logits is gone
    assert (guess(views, 0.1).max(dim=1).values > found.max(dim=1).values).all()


def test_mixed_images_and_labels_are_of_the_same_two_samples_in_the_same_shares() -> None:
    x = torch.arange(50.0)[:, None, None, None].expand(50, 1, 2, 2)
    mixed, target = mixup(x, torch.eye(50), 0.5, torch.Generator().manual_seed(0))
    own = target.diagonal()
    assert ((own >= 0.5) & (own <= 1)).all()
    torch.testing.assert_close(target.sum(dim=1), torch.ones(50))
    assert ((target > 0).sum(dim=1) <= 2).all()
    torch.testing.assert_close(mixed[:, 0, 1, 1], target @ torch.arange(50.0))


def test_the_shares_of_mixing_resemble_the_larger_part_of_a_beta_distribution() -> None:
    size = 2000
    images, draws = torch.zeros(size, 1, 1, 1), torch.Generator().manual_seed(1)
    own = mixup(images, torch.eye(size), 0.5, draws)[1].diagonal()
    beta = np.random.default_rng(0).beta(0.5, 0.5, size)
    levels = (0.1, 0.25, 0.5, 0.75, 0.9)
    found = np.quantile(own.numpy(), levels)
    np.testing.assert_allclose(found, np.quantile(np.maximum(beta, 1 - beta), levels), atol=0.05)


def test_divergence_is_that_of_the_first_from_the_second() -> None:
    p, q = torch.tensor([[0.5, 0.3, 0.2]]), torch.tensor([[0.2, 0.2, 0.6]])
    expected = (p * (p / q).log()).sum()
    torch.testing.assert_close(divergence(p.log().repeat(4, 1), 3 + q.log().repeat(4, 1)), expected)
    assert float(divergence(p.log(), p.log())) == pytest.approx(0, abs=1e-7)


def test_the_average_is_tensorflows_with_the_networks_own_running_statistics() -> None:
    network = new_model()
    average = Average(network, 0.35)
    expected = [p.detach().clone() for p in network.parameters()]
    decays = [2 / 11, 3 / 12, 4 / 13, 0.35, 0.35]  # 5 / 14 is above 0.35
    for seed, decay in enumerate(decays):
        generator = torch.Generator().manual_seed(seed)
        network(torch.randn(4, 1, 8, 8, generator=generator))
        for k, p in enumerate(network.parameters()):
            p.data += torch.randn(p.shape, generator=generator)
            expected[k] = expected[k] - (1 - decay) * (expected[k] - p.detach())
        average.update()
    for found, value in zip(average.model.parameters(), expected, strict=True):
        torch.testing.assert_close(found.detach(), value)
        assert not found.requires_grad
    for found, value in zip(average.model.buffers(), network.buffers(), strict=True):
        assert torch.equal(found, value)


def test_a_step_is_that_of_the_paper_done_the_slow_way() -> None:
    model, optimizer = trained(nesterov=False)
    batch, meta = random_batch(1), random_batch(2, size=5)
    second = batch.x + 0.5 * random_batch(3).x
    method: Any = Distill(
        model,
        AllocateConfig(lr=0.02, warmup=0, nesterov=False),
        DistillConfig(),
        num_classes=K,
        ramp_epochs=0,
        view=lambda index, draws: second,
        draws=torch.Generator().manual_seed(4),
    )
    method._optimizer.load_state_dict(optimizer.state_dict())
    method.start_epoch(0)
    slow = new_model().double()
    slow.load_state_dict(model.state_dict())
    slow_optimizer = torch.optim.SGD(slow.parameters(), 0.02)
    slow_optimizer.load_state_dict(copy.deepcopy(method._optimizer.state_dict()))
    metrics = method.step(batch, meta)
    weight = slow_step(slow, slow_optimizer, batch, second, meta, torch.Generator().manual_seed(4))
    torch.testing.assert_close(metrics["weight"], weight)
    for found, expected in zip(
        model.state_dict().values(), slow.state_dict().values(), strict=True
    ):
        torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-10)


def slow_step(
    model: nn.Module,
    optimizer: torch.optim.SGD,
    batch: Batch,
    second: Tensor,
    meta: Batch,
    draws: torch.Generator,
) -> Tensor:
    """One step of ieg/models/model.py, written anew; return B times the given label's weight."""
    eye, size = torch.eye(K, dtype=torch.float64), len(batch.y)

    def unit(z: Tensor) -> Tensor:
        return z / z.square().mean().sqrt()

    def entropy(z: Tensor, target: Tensor) -> Tensor:
        return -(target * z.log_softmax(1)).sum(1)

    model(batch.x)  # the first view, and it alone, moves the running statistics
    params = dict(model.named_parameters())
    views = [run(model, params, x) for x in (batch.x, second)]
    mean = sum(unit(z.detach()).softmax(1) for z in views) / 2
    guessed = mean**2 / (mean**2).sum(1, keepdim=True)
    by_weight, by_share = slow_slopes(model, optimizer, batch, meta, guessed)
    w = (-by_weight).clamp(min=0)
    w, chosen = w / w.sum(), (by_share < 0).double()
    given = eye[batch.y]
    real = entropy(views[0], chosen[:, None] * given + (1 - chosen[:, None]) * guessed).mean()
    real = (real + (w * entropy(views[0], 0.9 * given + 0.1 * guessed)).sum()) / 2

    drawn = torch.randint(len(meta.y), (size,), generator=draws)
    x = torch.cat([meta.x[drawn], batch.x, second])
    target = torch.cat([eye[meta.y[drawn]], guessed, guessed])
    other = torch.randperm(3 * size, generator=draws)
    own = 1 - torch.rand(3 * size, generator=draws, dtype=torch.float64) ** 2 / 2
    mixed = own[:, None, None, None] * x + (1 - own)[:, None, None, None] * x[other]
    target = own[:, None] * target + (1 - own)[:, None] * target[other]
    z = [unit(part) for part in run(model, params, mixed).split(size)]
    real = real + entropy(z[0], target[:size]).mean()
    real = real + 5 * entropy(torch.cat(z[1:]), target[size:]).mean()

    p = views[0].detach().softmax(1)
    real = real + 20 * (p * (p.log() - views[1].log_softmax(1))).sum(1).mean()
    optimizer.zero_grad()
    real.backward()
    optimizer.step()
    return (chosen + 0.9 * size * w) / 2


def test_guessed_labels_and_consistency_count_from_zero_to_all_while_they_ramp_up() -> None:
    case = ("distill", {"ramp_share": 1.0})  # of two epochs before the first drop
    ramped: Any = toy(case)
    gains = []
    for epoch in range(4):
        ramped.start_epoch(epoch)
        gains.append(float(ramped._gain))
    assert gains == [0, 0.5, 1, 1]
    without = toy(("distill", {"guessed_weight": 0.0, "consistency": 0.0, "ramp_share": 0.0}))
    at_once = toy(("distill", {"ramp_share": 0.0}))
    for method in (ramped, without, at_once):
        method.start_epoch(0)
        method.step(*[batches(1)[0]] * 2)
    ends = [torch.cat([p.flatten() for p in m.model.parameters()]) for m in (ramped, without)]
    torch.testing.assert_close(*ends)
    released = torch.cat([p.flatten() for p in at_once.model.parameters()])
    assert not torch.allclose(released, ends[0], atol=1e-4)


def test_wrong_labels_end_with_less_weight_than_right_ones() -> None:
    method = toy(("distill", {}))
    wrong = torch.arange(NUM_SAMPLES) % 5 == 0
    wrong[-2:] = False
    y = torch.where(wrong, 1 - labels(), labels())
    method.start_epoch(0)
    weights = torch.zeros(NUM_SAMPLES)
    for batch in batches(15):
        noisy = batch._replace(y=y[batch.index])
        weights[batch.index] = method.step(noisy, toy_batch(torch.arange(0, NUM_SAMPLES, 3)))[
            "weight"
        ]
    assert weights[wrong].mean() < 0.5 * weights[~wrong].mean()
