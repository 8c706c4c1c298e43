"""One conformance suite over the table of methods."""

import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from toy import CASES, NUM_SAMPLES, Case, batches, section, tensors, toy, toy_batch

from curvetune.config import METHOD_SECTIONS
from curvetune.methods import METHODS, Method


def test_the_table_and_the_config_name_the_same_methods() -> None:
    assert list(METHODS) == list(METHOD_SECTIONS)


every_case = pytest.mark.parametrize("case", CASES, ids=[name for name, _ in CASES])


@every_case
def test_a_step_lowers_the_loss_on_separable_data(case: Case) -> None:
    method = toy(case)
    method.start_epoch(0)
    losses = [method.step(batch, batch)["loss"].mean() for batch in batches(25)]
    assert float(losses[-1]) < 0.5 * float(losses[0])


@every_case
def test_metrics_are_per_sample_or_single_numbers_without_a_graph(
    case: Case,
) -> None:
    method = toy(case)
    for epoch in (0, 5):  # while weights are learned, and after
        method.start_epoch(epoch)
        metrics = method.step(*[batches(1)[0]] * 2)
        assert metrics["loss"].shape == (20,)
        assert all(value.shape in ((20,), ()) for value in metrics.values())
        assert not any(value.requires_grad for value in metrics.values())


@every_case
def test_no_global_random_state_is_touched(case: Case) -> None:
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
def test_a_step_never_waits_for_a_number(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
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
    case: Case,
) -> None:
    def run(method: Method, first: int, last: int) -> None:
        for epoch, batch in list(enumerate(batches(8)))[first:last]:
            method.start_epoch(epoch // 2)
            method.step(batch, batch)

    straight, before, after = toy(case), toy(case), toy(case, seed=1)
    run(straight, 0, 8)
    run(before, 0, 3)
    after.state.load_state_dict(before.state.state_dict())
    run(after, 3, 8)
    ends = tensors(straight.state.state_dict()), tensors(after.state.state_dict())
    assert len(ends[0]) == len(ends[1]) > 0
    assert all(torch.equal(a, b) for a, b in zip(*ends, strict=True))


@every_case
def test_the_same_seed_gives_the_same_numbers(case: Case) -> None:
    ends = []
    for _ in range(2):
        method = toy(case)
        method.start_epoch(0)
        for batch in batches(3):
            method.step(batch, batch)
        ends.append(tensors(method.state.state_dict()))
    assert all(torch.equal(a, b) for a, b in zip(*ends, strict=True))


@every_case
def test_a_last_batch_of_one_sample_is_fine(case: Case) -> None:
    method = toy(case)
    for epoch in (0, 5):
        method.start_epoch(epoch)
        metrics = method.step(toy_batch(torch.tensor([NUM_SAMPLES - 1])), batches(1)[0])
        assert torch.isfinite(metrics["loss"]).all()


@every_case
def test_state_holds_every_tensor_that_a_step_changes(case: Case) -> None:
    """Two methods that were built apart agree once the state of one is read by the other."""
    one, other = toy(case), toy(case, seed=1)
    one.start_epoch(0)
    for batch in batches(2):
        one.step(batch, batch)
    other.state.load_state_dict(one.state.state_dict())
    pairs = zip(tensors(one.state.state_dict()), tensors(other.state.state_dict()), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    assert all(
        torch.equal(a, b)
        for a, b in zip(one.model.parameters(), other.model.parameters(), strict=True)
    )


@every_case
def test_every_option_has_a_description_and_the_section_says_its_source(case: Case) -> None:
    config = section(case)
    assert config.source
    assert (type(config).__doc__ or "").strip()
    assert float(config.cost) > 0
