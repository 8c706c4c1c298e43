"""One conformance suite over the table of methods, and the mathematics of each."""

import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from curvetune import methods, models
from curvetune.batch import Batch
from curvetune.config import (
    METHOD_SECTIONS,
    AllocateConfig,
    CurveNetConfig,
    MethodConfig,
    MWNetNoiseConfig,
)
from curvetune.methods import METHODS, Method, Parts
from curvetune.methods.base import effective_number_weights
from curvetune.methods.curvenet import centre, kept, low_loss_samples
from curvetune.methods.mw_net_noise import LossNet

NUM_SAMPLES, NUM_CLASSES = 60, 3
VARIANTS: dict[str, dict[str, Any]] = {
    "curvenet": {"removed_losses": 1},
    "curvenet, three stages frozen": {"removed_losses": 1, "skip_layers": 3},
    "curvenet of the paper's text": {
        "removed_losses": 1, "virtual_step": "sgd", "head_layers": 2, "late_weights": "frozen",
    },
    "curvenet with drw": {"removed_losses": 1, "drw": True},
}  # fmt: skip
CASES: list[tuple[str, dict[str, Any]]] = [
    (name, options)
    for method in METHODS
    for name, options in (
        {k: v for k, v in VARIANTS.items() if k.startswith(method)} or {method: {}}
    ).items()
]


def images() -> tuple[Tensor, Tensor]:
    """Return separable images, (N, 1, 8, 8), and labels; class 2 has two samples."""
    y = torch.arange(NUM_SAMPLES) % 2
    y[-2:] = 2
    generator = torch.Generator().manual_seed(0)
    x = 0.3 * torch.randn(NUM_SAMPLES, 1, 8, 8, generator=generator)
    x[torch.arange(NUM_SAMPLES), 0, 2 * y, :] += 2
    return x, y


def toy_batch(index: Tensor) -> Batch:
    x, y = images()
    return Batch(x[index], y[index], index)


def batches(count: int, size: int = 20) -> list[Batch]:
    generator = torch.Generator().manual_seed(1)
    return [
        toy_batch(torch.randperm(NUM_SAMPLES, generator=generator)[:size]) for _ in range(count)
    ]


def toy(case: tuple[str, dict[str, Any]], seed: int = 0, epochs: int = 10) -> Method:
    """Return a method on a small network; curves are those of a probe that saw the truth."""
    name, options = case
    name = next(n for n in METHODS if name.startswith(n))
    y = images()[1]

    def new_model() -> nn.Module:
        generator = torch.Generator().manual_seed(seed)
        return models.build("resnet8", NUM_CLASSES, 1, init="kaiming", generator=generator)

    curves = torch.rand(NUM_SAMPLES, 6, generator=torch.Generator().manual_seed(2))
    parts = Parts(
        new_model=new_model,
        recipe=AllocateConfig(epochs=epochs, lr=0.02, warmup=0, milestones=(2,)),
        first_drop=2,
        y=y,
        num_classes=NUM_CLASSES,
        generator=torch.Generator().manual_seed(seed),
        curves=curves,
    )
    return methods.build(METHOD_SECTIONS[name](**options), parts)


def tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    return [tensor for item in items for tensor in tensors(item)]


def test_the_table_and_the_config_name_the_same_methods() -> None:
    assert list(METHODS) == list(METHOD_SECTIONS)


every_case = pytest.mark.parametrize("case", CASES, ids=[name for name, _ in CASES])


@every_case
def test_a_step_lowers_the_loss_on_separable_data(case: tuple[str, dict[str, Any]]) -> None:
    method = toy(case)
    method.start_epoch(0)
    losses = [method.step(batch, batch)["loss"].mean() for batch in batches(25)]
    assert float(losses[-1]) < 0.5 * float(losses[0])


@every_case
def test_metrics_are_per_sample_or_single_numbers_without_a_graph(
    case: tuple[str, dict[str, Any]],
) -> None:
    method = toy(case)
    for epoch in (0, 5):  # while weights are learned, and after
        method.start_epoch(epoch)
        metrics = method.step(*[batches(1)[0]] * 2)
        assert metrics["loss"].shape == (20,)
        assert all(value.shape in ((20,), ()) for value in metrics.values())
        assert not any(value.requires_grad for value in metrics.values())


@every_case
def test_no_global_random_state_is_touched(case: tuple[str, dict[str, Any]]) -> None:
    state = torch.get_rng_state()
    method = toy(case)
    method.start_epoch(0)
    method.step(*[batches(1)[0]] * 2)
    assert torch.equal(torch.get_rng_state(), state)


def refusing(original: Callable[..., Any]) -> Callable[..., Any]:
    """Refuse a read, but for PyTorch's optimizers, which keep their step counter on the CPU."""

    def read(*args: Any) -> Any:
        caller = sys._getframe(1).f_globals["__name__"]
        assert caller.startswith("torch.optim"), f"{caller} read a number off the device"
        return original(*args)

    return read


@every_case
def test_a_step_never_waits_for_a_number(
    case: tuple[str, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    method, batch = toy(case), batches(1)[0]
    method.start_epoch(0)
    method.step(batch, batch)  # an optimizer's first step may look at its own counters

    for name in ("item", "tolist", "cpu", "numpy", "__bool__", "__float__", "__int__"):
        monkeypatch.setattr(Tensor, name, refusing(getattr(Tensor, name)))
    metrics = method.step(batch, batch)
    monkeypatch.undo()
    assert torch.isfinite(metrics["loss"]).all()


@every_case
def test_a_resumed_method_ends_bit_for_bit_where_it_would_have(
    case: tuple[str, dict[str, Any]],
) -> None:
    def run(method: Method, first: int, last: int) -> None:
        for epoch, batch in list(enumerate(batches(8)))[first:last]:
            method.start_epoch(epoch // 2)
            method.step(batch, batch)

    straight, before, after = toy(case), toy(case), toy(case, seed=1)
    run(straight, 0, 8)
    run(before, 0, 3)
    after.load_state_dict(before.state_dict())
    run(after, 3, 8)
    ends = tensors(straight.state_dict()), tensors(after.state_dict())
    assert len(ends[0]) == len(ends[1]) > 0
    assert all(torch.equal(a, b) for a, b in zip(*ends, strict=True))


@every_case
def test_the_same_seed_gives_the_same_numbers(case: tuple[str, dict[str, Any]]) -> None:
    ends = []
    for _ in range(2):
        method = toy(case)
        method.start_epoch(0)
        for batch in batches(3):
            method.step(batch, batch)
        ends.append(tensors(method.state_dict()))
    assert all(torch.equal(a, b) for a, b in zip(*ends, strict=True))


@every_case
def test_a_last_batch_of_one_sample_is_fine(case: tuple[str, dict[str, Any]]) -> None:
    method = toy(case)
    for epoch in (0, 5):
        method.start_epoch(epoch)
        metrics = method.step(toy_batch(torch.tensor([NUM_SAMPLES - 1])), batches(1)[0])
        assert torch.isfinite(metrics["loss"]).all()


# Meta-Weight-Net and CurveNet


@pytest.mark.parametrize(
    "case", [c for c in CASES if "frozen" not in c[0] and c[0] != "cross-entropy"]
)
def test_the_step_is_that_of_the_paper_done_the_slow_way(case: tuple[str, dict[str, Any]]) -> None:
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
            and "curvenet" in case[0],
        )
    for a, b in zip(tensors(fast.state_dict()), tensors(slow.state_dict()), strict=True):
        torch.testing.assert_close(a, b, rtol=2e-3, atol=2e-5)


def slow_step(method: Any, batch: Batch, meta: Batch, *, nesterov: bool) -> None:
    """One step of methods.md 4.4, written from it: a virtual copy and a double backward."""
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
    counts = torch.bincount(images()[1], minlength=NUM_CLASSES)
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


def test_methods_say_what_they_need() -> None:
    def needs(config: MethodConfig) -> tuple[bool, str | None]:
        return config.needs_probe, config.meta_set

    assert needs(METHOD_SECTIONS["cross-entropy"]()) == (False, None)
    assert needs(MWNetNoiseConfig()) == (False, "clean")
    assert needs(CurveNetConfig()) == (True, "clean")
    assert needs(CurveNetConfig(meta="low_loss")) == (True, "low_loss")
