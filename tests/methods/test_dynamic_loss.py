"""The mathematics of Dynamic Loss against slow versions of it."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from draws import random, seeded
from slow_meta import LR, batch_and_meta, double, losses_at, relative_error
from torch import Tensor, nn
from torch.func import functional_call
from toy import (
    NUM_CLASSES,
    NUM_SAMPLES,
    batches,
    labels,
    new_model,
    toy,
    toy_batch,
)

from curvetune.batch import Batch
from curvetune.config import (
    CellConfig,
    DataConfig,
    DynamicLossConfig,
)
from curvetune.config.profiles import apply_profile
from curvetune.meta import forward
from curvetune.methods.dynamic_loss import draw_class, hierarchical_sample, loss_ranks
from curvetune.methods.shared.dynamic import DynamicNet

# --- dynamic-loss: ranks and the meta set ---


def test_ranks_are_places_in_the_own_class_spread_over_the_steps() -> None:
    y = torch.tensor([0, 1, 0, 0, 2, 1, 0, 0, 1, 0])
    losses = torch.rand(10, generator=seeded(0))
    expected = []
    for i in range(10):
        own = [float(losses[j]) for j in range(10) if y[j] == y[i]]
        place = sum(loss < losses[i] for loss in own)
        expected.append(int(place * 100 // (len(own) + 1)))
    assert loss_ranks(losses, y, 4, 100).tolist() == expected


def test_all_ranks_are_below_their_number() -> None:
    y = torch.zeros(1000, dtype=torch.int64)
    found = loss_ranks(torch.arange(1000.0), y, 1, 7)
    assert found.min() == 0
    assert found.max() == 6
    assert torch.equal(found, found.sort().values)


def test_the_meta_set_has_as_many_of_each_class_and_only_the_lowest_of_the_drawn() -> None:
    y = torch.tensor([0] * 30 + [1] * 12 + [3] * 8)  # nothing is called 2
    losses = torch.rand(50, generator=seeded(1))
    found = hierarchical_sample(losses, y, 4, 8, 3, seeded(2))
    order = torch.randperm(50, generator=seeded(2)).tolist()
    expected = []
    for k in (0, 1, 3):
        drawn = [i for i in order if y[i] == k][:8]
        expected += sorted(drawn, key=lambda i: float(losses[i]))[:3]
    assert found.tolist() == expected


def test_an_epoch_ends_with_its_meta_set_and_visits_everything_once() -> None:
    method: Any = toy(("dynamic-loss", {"warm_epochs": 2}))
    assert method.start_epoch(1) is None
    assert not method._in_meta.any()
    order = method.start_epoch(2)
    assert sorted(order.tolist()) == list(range(NUM_SAMPLES))
    assert method._meta.sort().values.tolist() == order[-len(method._meta) :].sort().values.tolist()
    assert labels()[method._meta].bincount().tolist() == [1, 1, 1]  # the rarest class has two
    first = method._meta.clone()
    assert any(not torch.equal(method.start_epoch(k), order) for k in (3, 4))
    assert len(first) == len(method._meta)


def test_the_meta_batch_is_of_the_meta_set_with_its_given_labels() -> None:
    method: Any = toy(("dynamic-loss", {"warm_epochs": 2, "meta_batch_size": 50}))
    method.start_epoch(2)
    meta = method._draw_meta()
    assert set(meta.index.tolist()) <= set(method._meta.tolist())
    assert len(meta.y) == 50
    expected = toy_batch(meta.index)
    assert torch.equal(meta.y, expected.y)
    torch.testing.assert_close(meta.x, expected.x)


def test_classes_are_drawn_as_often_as_the_softmax_says() -> None:
    logits = torch.tensor([1.0, -0.5, 0.2, -3.0]).expand(40_000, 4)
    found = draw_class(logits, seeded(3))
    assert set(found.flatten().tolist()) == {0.0, 1.0}
    assert torch.equal(found.sum(dim=1), torch.ones(40_000))
    torch.testing.assert_close(found.mean(dim=0), logits[0].softmax(0), atol=0.01, rtol=0)


# --- dynamic-loss: the network and its gradient ---


def dynamic(**options: Any) -> Any:
    """Return the method in float64, after two steps that gave its optimizer some momentum."""
    method: Any = toy(("dynamic-loss", {}))
    config = DynamicLossConfig(**{"warm_epochs": 0, "meta_batch_size": 12, **options})
    method._config = config
    method.start_epoch(0)
    method.model.double()
    method._net.double()
    with torch.no_grad():  # shares that are neither 0 nor 1, and margins that differ
        for p in method._net.parameters():
            p += 0.3 * torch.randn(p.shape, generator=seeded(4), dtype=p.dtype)
        method._net.corrector[-1].bias -= 3.5
    method._ranks.copy_(torch.randint(100, (NUM_SAMPLES,), generator=seeded(5)))
    method._draw_meta = lambda: batch_and_meta()[1]
    for batch in batches(2):
        method.step(double(batch), None)
    return method


@contextmanager
def drawing_again(method: Any) -> Iterator[None]:
    """Let what is drawn in here be drawn again after it."""
    before = method._draws.get_state()
    yield
    method._draws.set_state(before)


def parts(method: Any, batch: Batch, logits: Tensor) -> tuple[Tensor, Tensor]:
    """Return targets and margins as they are in words, with gradient to the network."""
    net = method._net
    table = net.corrector(net.rank_embedding).sigmoid()
    rows, margins = [], []
    guessed = draw_class(logits, method._draws)
    margin = net.margin_layers(net.margin_embedding)[0]
    for k, i in enumerate(batch.index.tolist()):
        label = F.one_hot(batch.y[k], NUM_CLASSES).double()
        if method._in_meta[i]:
            rows.append(label)
            margins.append(margin.detach())
        else:
            w = table[method._ranks[i], batch.y[k]]
            rows.append(w * label + (1 - w) * guessed[k])
            margins.append(margin)
    return torch.stack(rows), torch.stack(margins)


def meta_loss_after_step(method: Any, batch: Batch, meta: Batch) -> Tensor:
    """The meta loss after a virtual step whose graph is kept: autograd, twice."""
    model, params = method.model, dict(method.model.named_parameters())
    stats = {name: b.clone() for name, b in model.named_buffers()}
    logits = functional_call(model, {**params, **stats}, (batch.x,))
    with drawing_again(method):
        target, margins = parts(method, batch, logits.detach())
    loss = -(target * (logits + margins).log_softmax(dim=1)).sum(dim=1).mean()
    slopes = torch.autograd.grad(loss, list(params.values()), create_graph=True)
    ahead = {}
    for (name, p), slope in zip(params.items(), slopes, strict=True):
        step = slope
        if method._config.virtual_step == "optimizer":
            group = method._optimizer.param_groups[0]
            step = slope + group["weight_decay"] * p
            buffer = group["momentum"] * method._optimizer.state[p]["momentum_buffer"] + step
            step = step + group["momentum"] * buffer if group["nesterov"] else buffer
        ahead[name] = p - LR * step
    return losses_at(model, ahead, meta).mean()


def found_gradient(method: Any, batch: Batch, meta: Batch) -> Tensor:
    passed = forward(method.model, batch, update_statistics=False)
    given = F.one_hot(batch.y, NUM_CLASSES).double()
    method._net_optimizer.step = lambda: None  # the network stays as it is
    with drawing_again(method):
        method._learn(passed, given, meta)
    return torch.cat([p.grad.flatten() for p in method._net.parameters()])


@pytest.mark.parametrize("virtual_step", ["optimizer", "sgd"])
def test_the_meta_gradient_is_that_of_a_double_backward(virtual_step: str) -> None:
    method = dynamic(virtual_step=virtual_step)
    batch, meta = batch_and_meta()
    assert 0 < method._in_meta[batch.index].sum() < len(batch.y)
    loss = meta_loss_after_step(method, batch, meta)
    slopes = torch.autograd.grad(loss, list(method._net.parameters()))
    expected = torch.cat([slope.flatten() for slope in slopes])
    assert relative_error(found_gradient(method, batch, meta), expected) < 1e-9


def test_the_meta_gradient_is_a_central_difference() -> None:
    method = dynamic()
    method._in_meta.zero_()  # nothing is held fixed, so that the loss moves with all of the network
    batch, meta = batch_and_meta()
    found = found_gradient(method, batch, meta)
    params = list(method._net.parameters())
    for seed in range(3):
        way = [random(*p.shape, seed=10 * seed + k) for k, p in enumerate(params)]
        ends = []
        for sign in (1, -1):
            _move(params, way, sign * 1e-5)
            ends.append(float(meta_loss_after_step(method, batch, meta).detach()))
            _move(params, way, -sign * 1e-5)
        slope = (ends[0] - ends[1]) / 2e-5
        along = float(found @ torch.cat([d.flatten() for d in way]))
        assert along == pytest.approx(slope, rel=1e-5)


def _move(params: list[Any], way: list[Tensor], length: float) -> None:
    with torch.no_grad():
        for param, direction in zip(params, way, strict=True):
            param += length * direction


def test_corrector_and_margins_learn_nothing_from_the_meta_set_itself() -> None:
    method = dynamic()
    batch, meta = batch_and_meta()
    method._in_meta[batch.index] = True
    assert not found_gradient(method, batch, meta).any()


def test_with_given_labels_and_equal_margins_a_step_is_that_of_cross_entropy() -> None:
    method, plain = dynamic(), toy(("cross-entropy", {}))
    plain.model.double()
    plain.model.load_state_dict(method.model.state_dict())
    plain._optimizer.load_state_dict(copy.deepcopy(method._optimizer.state_dict()))
    plain.start_epoch(0)
    for layers, bias in ((method._net.corrector, 60.0), (method._net.margin_layers, 1.0)):
        nn.init.zeros_(layers[-1].weight)
        nn.init.constant_(layers[-1].bias, bias)
    method._net_optimizer.step = lambda: None
    batch = double(batches(3)[2])
    metrics = method.step(batch, None)
    plain.step(batch, None)
    torch.testing.assert_close(metrics["weight"], torch.ones(20, dtype=torch.float64))
    for found, expected in zip(method.model.parameters(), plain.model.parameters(), strict=True):
        torch.testing.assert_close(found, expected)


def test_the_real_step_has_the_targets_and_margins_of_the_updated_network() -> None:
    method = dynamic()
    params = [p.detach().clone() for p in method.model.parameters()]
    batch = double(batches(3)[2])
    logits = forward(method.model, batch, update_statistics=False).logits
    before = [p.detach().clone() for p in method._net.parameters()]
    seen: list[Tensor] = []
    loss_parts = method._loss_parts
    method._loss_parts = lambda *given: seen.append(method._draws.get_state()) or loss_parts(*given)
    method.step(batch, None)
    method._draws.set_state(seen[1])  # of the real step's draw
    target, margins = parts(method, batch, logits.detach())
    assert not all(torch.equal(p, q) for p, q in zip(before, method._net.parameters(), strict=True))
    twin = new_model().double()
    twin.load_state_dict(method.model.state_dict())
    with torch.no_grad():
        for p, q in zip(twin.parameters(), params, strict=True):
            p.copy_(q)
    logits = twin(batch.x)
    F.cross_entropy(logits + margins.detach(), target.detach()).backward()
    for p, q in zip(twin.parameters(), method.model.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad)


def test_while_it_warms_up_the_corrector_learns_to_keep_given_labels_and_margins_rest() -> None:
    method: Any = toy(("dynamic-loss", {"warm_epochs": 1}))
    method.start_epoch(0)
    margins = method._net.margins().detach().clone()
    batch = batches(1)[0]
    logits = forward(method.model, batch, update_statistics=False).logits
    w = method._net.corrector(method._net.rank_embedding).sigmoid()[
        method._ranks[batch.index], batch.y
    ]
    p = logits.detach().softmax(dim=1)[torch.arange(20), batch.y]
    expected = torch.autograd.grad(
        -(w + (1 - w) * p + 1e-8).log().mean(), list(method._net.corrector.parameters())
    )
    before = method._net.shares(method._ranks[batch.index], batch.y).mean()
    assert "meta_loss" not in method.step(batch, None)
    for slope, param in zip(expected, method._net.corrector.parameters(), strict=True):
        torch.testing.assert_close(param.grad, slope)
    assert method._net.shares(method._ranks[batch.index], batch.y).mean() > before
    assert torch.equal(method._net.margins(), margins)


def test_the_network_starts_with_given_labels_and_margins_near_one() -> None:
    net = DynamicNet(100, 10, 64, seeded(0))
    rank = torch.arange(100).repeat_interleave(10)
    shares = net.shares(rank, torch.arange(10).repeat(100))
    torch.testing.assert_close(shares, torch.full_like(shares, 0.98), atol=0.02, rtol=0)
    assert net.margins().shape == (1, 10)
    torch.testing.assert_close(net.margins(), torch.ones(1, 10), atol=0.5, rtol=0)


def test_shorter_schedules_warm_up_for_as_large_a_share() -> None:
    cell = CellConfig(method=DynamicLossConfig(warm_epochs=30))
    assert apply_profile(cell, "fast").method.model_dump()["warm_epochs"] == 15
    assert apply_profile(cell, "smoke").method.model_dump()["warm_epochs"] == 0


def test_dynamic_loss_runs_without_a_clean_set_and_says_how_where_it_wants_one() -> None:
    none = DataConfig(meta_per_class=0)
    CellConfig(data=none, method=DynamicLossConfig())
    with pytest.raises(ValueError, match=r"method\.meta=hierarchical"):
        CellConfig(data=none, method=DynamicLossConfig(meta="clean"))
