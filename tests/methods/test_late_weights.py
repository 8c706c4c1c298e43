"""`update: lag-1`: one backward pass for both steps, and weights that count one batch later."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from slow_meta import batch_and_meta, losses_at, relative_error
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from toy import Case, batches, tensors, toy

from curvetune.batch import Batch
from curvetune.config import METHOD_SECTIONS, CellConfig

LATE: list[Case] = [
    ("curvenet", {"removed_losses": 1, "update": "lag-1"}),
    ("curvenet", {"removed_losses": 1, "update": "lag-1", "virtual_step": "sgd"}),
    ("mw-net-noise", {"update": "lag-1"}),
    ("cmw-net", {"update": "lag-1"}),
]


def late_method(case: Case) -> Any:
    """Return a method in float64; CurveNet makes that of the curves that it is given."""
    method: Any = toy(case)
    method.model.double()
    net = method._learner.net.double()
    net.register_forward_pre_hook(lambda _, given: (given[0].double(), *given[1:]))
    if hasattr(method, "_weights"):
        method._weights = method._weights.double()
    method.start_epoch(0)
    return method


def sgd_step(method: Any, slopes: list[Tensor], *, plain: bool) -> dict[str, Tensor]:
    """Return the parameters after a step of torch.optim.SGD, from its documentation."""
    group = method._optimizer.param_groups[0]
    ahead = {}
    for (name, p), slope in zip(method.model.named_parameters(), slopes, strict=True):
        step = slope
        if not plain:
            step = slope + group["weight_decay"] * p.detach()
            old = method._optimizer.state.get(p, {}).get("momentum_buffer")
            moving = step if old is None else group["momentum"] * old + step
            step = step + group["momentum"] * moving
        ahead[name] = p.detach() - group["lr"] * step
    return ahead


def expected_step(
    method: Any, batch: Batch, meta: Batch, *, plain: bool
) -> tuple[list[Tensor], dict[str, Tensor]]:
    """Return the net's gradient and the classifier after the step: autograd, twice, all written."""
    params = dict(method.model.named_parameters())
    losses = losses_at(method.model, params, batch)
    weights = method._learner._weigh(batch, losses.detach())
    objective = (weights * losses).mean()
    slopes = list(torch.autograd.grad(objective, list(params.values()), create_graph=True))
    meta_loss = losses_at(method.model, sgd_step(method, slopes, plain=plain), meta).mean()
    net = list(method._learner.net.parameters())
    gradient = torch.autograd.grad(meta_loss, net, retain_graph=True)
    after = sgd_step(method, [slope.detach() for slope in slopes], plain=False)
    return list(gradient), after


@pytest.mark.parametrize("case", LATE)
def test_the_net_learns_through_the_step_that_is_taken(case: Case) -> None:
    """Three steps: with momentum behind them, and with weights that were learned before."""
    method = late_method(case)
    batch, meta = batch_and_meta()
    plain = method._learner._own_step is False
    for _ in range(3):
        gradient, after = expected_step(method, batch, meta, plain=plain)
        method.step(batch, meta)
        for p, slope in zip(method._learner.net.parameters(), gradient, strict=True):
            assert relative_error(p.grad, slope) < 1e-8
        for name, p in method.model.named_parameters():
            torch.testing.assert_close(p.detach(), after[name], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("case", LATE)
def test_what_is_learned_counts_from_the_next_batch(case: Case) -> None:
    method = late_method(case)
    batch, meta = batch_and_meta()
    losses = losses_at(method.model, dict(method.model.named_parameters()), batch).detach()
    before = method._learner.weights(batch, losses)
    first = method.step(batch, meta)["weight"]
    assert torch.equal(first, before)
    assert not torch.equal(first, method._learner.weights(batch, losses))
    second = method.step(batch, None)
    assert torch.equal(second["weight"], method._learner.weights(batch, second["loss"]))


def test_curvenet_keeps_the_weights_that_counted() -> None:
    method: Any = toy(LATE[0])
    method.start_epoch(0)
    for batch in batches(3):
        weights = method.step(batch, batch)["weight"]
        assert torch.equal(method._weights[batch.index], weights)


def test_finite_differences_may_be_late_too() -> None:
    both = {"removed_losses": 1, "update": "lag-1", "meta_gradient": "finite_difference"}
    about, exact = late_method(("curvenet", both)), late_method(LATE[0])
    for method in (about, exact):
        method.step(*batch_and_meta())
    pairs = zip(about._learner.net.parameters(), exact._learner.net.parameters(), strict=True)
    assert all(0 < relative_error(a.grad, b.grad) < 0.02 for a, b in pairs if b.grad.any())


def test_all_gates_open_famus_is_late_as_meta_weight_net_is() -> None:
    famus: Any = toy(("famus without the match", {"match_weight": 0.0, "update": "lag-1"}))
    plain: Any = toy(("mw-net-noise", {"update": "lag-1"}))
    for net in famus._sampler.nets.nets:
        torch.nn.init.zeros_(net[2].weight)
        net[2].bias.data.copy_(torch.tensor([0.0, 200.0]))
    for group in famus._sampler._optimizer.param_groups:
        group["lr"] = 0.0
    for batch in batches(3):
        for method in (famus, plain):
            method.start_epoch(0)
            method.step(batch, batch)
    ends = tensors(famus.state.state_dict()["model"]), tensors(plain.state.state_dict()["model"])
    assert all(torch.equal(a, b) for a, b in zip(*ends, strict=True))


class Counting(TorchDispatchMode):
    """Counts convolutions, forward as 1 and backward as 2: what a step costs."""

    def __init__(self) -> None:
        super().__init__()
        self.passes = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        name = func.overloadpacket.__name__
        self.passes += {"convolution": 1, "convolution_backward": 2}.get(name, 0)
        return func(*args, **(kwargs or {}))


@contextmanager
def counting() -> Iterator[Callable[[], int]]:
    with Counting() as mode:
        yield lambda: mode.passes


def test_a_late_step_has_one_backward_pass_less() -> None:
    costs = []
    for update in ("at-once", "lag-1"):
        method: Any = toy(("curvenet", {"removed_losses": 1, "update": update}))
        method.start_epoch(0)
        first, second = batches(2)
        method.step(first, second)
        with counting() as passes:
            method.step(first, second)
        costs.append(passes())
        with counting() as passes:
            method.model(first.x)
        forward = passes()
    assert costs[0] - costs[1] == 2 * forward


def test_late_updates_have_addresses_of_their_own_and_the_default_the_old_one() -> None:
    def cell(**options: Any) -> CellConfig:
        return CellConfig.model_validate({"method": {"name": "curvenet", **options}})

    digest = "0" * 64
    plain, late = cell(), cell(update="lag-1")
    assert cell(update="at-once").cell_id(digest) == plain.cell_id(digest)
    assert "update" not in plain.method.identity()
    assert late.cell_id(digest) != plain.cell_id(digest)
    assert late.probe_id(digest) == plain.probe_id(digest)


def test_where_a_late_update_would_save_nothing_it_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"update=lag-1 with skip_layers=2 saves nothing"):
        METHOD_SECTIONS["curvenet"](update="lag-1", skip_layers=2)  # type: ignore[call-arg]
    with pytest.raises(ValidationError, match="at-once"):
        METHOD_SECTIONS["mw-net-imb"](update="lag-1")  # type: ignore[call-arg]
