"""Networks that hide an operation from forward mode: told, computed otherwise, or refused."""

import copy
import logging
import random
from collections.abc import Callable

import pytest
import torch
import torchvision
from odd_networks import (
    LR,
    SHAPE,
    Attention,
    Deformed,
    Function,
    Straight,
    cut,
    leaky,
    one_by_one,
    products_are_right,
    random_batch,
    ready,
)
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from curvetune import models
from curvetune.batch import Batch
from curvetune.errors import DerivativeError
from curvetune.meta import check_forward_mode, forward, meta_gradient, weight_gradient

AGREEING: dict[str, Callable[[], nn.Module]] = {
    "nothing special": lambda: ready(nn.ReLU()),
    "dropout": lambda: ready(nn.Dropout(0.5)),
    "dropout of channels": lambda: ready(nn.Dropout2d(0.5), nn.ReLU(inplace=True)),
    "noisy relu": lambda: ready(nn.RReLU(0.1, 0.9)),
    "attention": lambda: ready(Attention(fused=False, dropout=0.2)),
    "fused attention": lambda: ready(Attention(fused=True)),
    "fused attention with dropout": lambda: ready(Attention(fused=True, dropout=0.2)),
    "encoder": lambda: ready(
        Function(lambda x: x.flatten(2).transpose(1, 2)),
        nn.TransformerEncoderLayer(4, 2, 8, batch_first=True),
    ),
    "one convolution used twice": lambda: ready(*[nn.Conv2d(4, 4, 3, bias=False)] * 2),
    "written to in place": lambda: ready(nn.Conv2d(4, 4, 3, bias=False), nn.SiLU(inplace=True)),
}
every_agreeing = pytest.mark.parametrize("build", AGREEING.values(), ids=AGREEING)


@every_agreeing
def test_forward_mode_agrees_and_is_right(
    build: Callable[[], nn.Module], caplog: pytest.LogCaptureFixture
) -> None:
    model = build()
    verdict = check_forward_mode(model, SHAPE, 5)
    assert (verdict.agrees, verdict.mode, verdict.operation) == (True, "forward", None)
    assert verdict.error < 1e-9
    products_are_right(model)
    assert not caplog.records


@pytest.mark.parametrize(
    ("layer", "operation", "smallest"),
    [
        (lambda: Function(leaky), "curvetune_test.leaky", 0.1),
        (lambda: Function(Straight.apply), "Straight", float("inf")),
        (lambda: spectral_norm(nn.Conv2d(4, 4, 3)), "div_out", float("inf")),
    ],
)
def test_a_hidden_operation_is_named_and_the_double_backward_is_used(
    layer: Callable[[], nn.Module],
    operation: str,
    smallest: float,
    caplog: pytest.LogCaptureFixture,
) -> None:
    model, alike = (ready(nn.Conv2d(4, 4, 3, bias=False), layer()) for _ in range(2))
    verdict = check_forward_mode(model, SHAPE, 5)
    assert (verdict.agrees, verdict.mode) == (True, "double backward")
    assert verdict.operation == operation
    assert verdict.error >= smallest
    products_are_right(model)
    products_are_right(alike)
    (said,) = caplog.records  # once, for all passes of all networks that are alike
    assert said.levelno == logging.WARNING
    assert operation in said.getMessage()


@pytest.mark.parametrize(
    ("layer", "operation"),
    [(Deformed, "torchvision.deform_conv2d"), (lambda: Function(cut), "torchvision.roi_align")],
)
def test_where_both_ways_are_wrong_it_is_refused_by_name_and_a_difference_is_not(
    layer: Callable[[], nn.Module], operation: str
) -> None:
    model, batch = ready(layer()), random_batch(1)
    verdict = check_forward_mode(model, SHAPE, 5)
    assert (verdict.agrees, verdict.operation) == (False, operation)
    weights = torch.ones(6, dtype=torch.float64)
    with pytest.raises(DerivativeError, match=operation) as raised:
        weight_gradient(model, batch, random_batch(2), weights, LR)
    assert "finite_difference" in str(raised.value)
    found, _ = meta_gradient(model, batch, random_batch(2), weights, LR, finite_difference=True)
    assert torch.isfinite(found).all()


def test_a_refused_network_is_said_to_be_what_was_found_what_is_allowed_and_what_to_do() -> None:
    model = ready(Deformed())
    with pytest.raises(DerivativeError) as raised:
        weight_gradient(model, random_batch(1), random_batch(2), torch.ones(6).double(), LR)
    for part in ("deform_conv2d", "needs one of the two", "choose a method without"):
        assert part in str(raised.value)


def test_draws_that_pytorch_does_not_show_are_refused_a_finite_difference_too() -> None:
    model = ready(Function(lambda x: x * random.random()))
    for finite in (False, True):
        with pytest.raises(DerivativeError, match="other losses when it is run again"):
            meta_gradient(
                model, random_batch(1), random_batch(2), torch.ones(6).double(), LR,
                finite_difference=finite,
            )  # fmt: skip


@pytest.mark.parametrize("finite", [False, True])
def test_a_second_pass_has_the_masks_of_the_first(finite: bool) -> None:
    """With masks of its own a difference over a small step would be off by far more than that."""
    model = ready(nn.Dropout(0.5))
    passed = forward(model, random_batch(1), update_statistics=False)
    direction = list(torch.autograd.grad(passed.losses.sum(), list(model.parameters()),
                                         retain_graph=True))  # fmt: skip
    expected = one_by_one(model, passed.losses, direction)
    products = passed.difference if finite else passed.inner_products
    for _ in range(2):  # and a third pass too
        found = products(direction)
        assert float((found - expected).norm() / expected.norm()) < (1e-2 if finite else 1e-9)


def test_a_second_pass_draws_nothing() -> None:
    model = ready(nn.Dropout(0.5))
    passed = forward(model, random_batch(1))
    direction = [torch.ones_like(p) for p in model.parameters()]
    passed.inner_products(direction)  # and the check before it
    state = torch.get_rng_state()
    passed.inner_products(direction)
    assert torch.equal(torch.get_rng_state(), state)


def test_inference_mode_changes_nothing() -> None:
    model, batch, meta = ready(nn.ReLU()), random_batch(1), random_batch(2)
    weights = torch.ones(6, dtype=torch.float64)
    passed = forward(model, batch, update_statistics=False)
    direction = [torch.ones_like(p) for p in model.parameters()]
    expected = passed.inner_products(direction), weight_gradient(model, batch, meta, weights, LR)
    with torch.inference_mode():
        verdict = check_forward_mode(model, SHAPE, 5)
        found = passed.inner_products(direction), weight_gradient(model, batch, meta, weights, LR)
        inside = passed.inner_products([d.clone() for d in direction])  # of inference mode
    assert verdict.agrees
    assert found[0].abs().min() > 0
    assert torch.equal(found[0], expected[0])
    assert torch.equal(inside, expected[0])
    assert torch.equal(found[1], expected[1])


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "bfloat16-onednn"])
@pytest.mark.parametrize("name", ["resnet8", "resnet32", "wrn-16-8"])
def test_no_network_of_ours_is_an_alarm(name: str, precision: str) -> None:
    model = models.build(
        name, 10, precision=precision, generator=torch.Generator().manual_seed(0)
    ).to(memory_format=torch.channels_last)  # fmt: skip
    verdict = check_forward_mode(model, SHAPE, 10)
    assert (verdict.agrees, verdict.mode) == (True, "forward")
    assert verdict.error < 1e-9


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "resnet18", "densenet121", "vit_tiny"])
def test_no_network_of_torchvision_is_an_alarm(name: str) -> None:
    """MobileNetV3 has a hard sigmoid, whose backward pass cannot be differentiated."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        if name == "vit_tiny":
            model: nn.Module = torchvision.models.VisionTransformer(
                32, 8, 2, 2, 16, 32, dropout=0.1, attention_dropout=0.1, num_classes=10
            )
            nn.init.normal_(model.heads.head.weight)  # it starts at 0
        else:
            model = torchvision.models.get_model(name, weights=None, num_classes=10)
    verdict = check_forward_mode(model, (3, 32, 32), 10)
    assert (verdict.agrees, verdict.mode) == (True, "forward")
    assert verdict.error < 1e-9
    if name == "mobilenet_v3_small":
        batch = Batch(torch.randn(6, 3, 32, 32), torch.arange(6), torch.arange(6))
        found = weight_gradient(model, batch, batch, torch.ones(6), LR)
        assert found.isfinite().all()
        assert found.any()


def test_an_operation_behind_a_layer_that_starts_at_zero_is_found() -> None:
    gate = nn.BatchNorm2d(4)
    nn.init.zeros_(gate.weight)
    model = ready(nn.Conv2d(4, 4, 3, bias=False), Function(leaky), gate)
    assert check_forward_mode(model, SHAPE, 5).operation == "curvetune_test.leaky"


def test_a_network_that_knows_one_type_of_number_only_is_checked_in_it() -> None:
    only = Function(lambda x: x.float() * 2)  # the head is then of another type in float64
    assert check_forward_mode(ready(only, dtype=torch.float32), SHAPE, 5).mode == "forward"
    hidden = ready(only, Function(leaky), dtype=torch.float32)
    assert check_forward_mode(hidden, SHAPE, 5).operation == "curvetune_test.leaky"


def test_the_check_leaves_everything_as_it_was() -> None:
    model = ready(nn.Dropout(0.5), nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4))
    model[3].eval()
    before = copy.deepcopy(model.state_dict())
    own, modes = list(model.parameters()), [m.training for m in model.modules()]
    state, python = torch.get_rng_state(), random.getstate()
    check_forward_mode(model, SHAPE, 5)
    assert torch.equal(torch.get_rng_state(), state)
    assert random.getstate() == python
    assert [m.training for m in model.modules()] == modes
    assert all("forward" not in vars(m) for m in model.modules())
    assert all(a is b and a.grad is None for a, b in zip(own, model.parameters(), strict=True))
    assert all(torch.equal(v, before[name]) for name, v in model.state_dict().items())


def test_a_module_that_is_there_twice_keeps_its_parameters() -> None:
    twice = nn.Conv2d(4, 4, 3, bias=False)
    model = ready(twice, twice)
    own = list(model.parameters())
    weight_gradient(model, random_batch(1), random_batch(2), torch.ones(6).double(), LR)
    assert all(a is b for a, b in zip(own, model.parameters(), strict=True))


class Counting(nn.Module):
    """Counts its passes."""

    def __init__(self) -> None:
        super().__init__()
        self.passes = 0

    def forward(self, x: Tensor) -> Tensor:
        self.passes += 1
        return x


class Staged(nn.Module):
    """A network with stages: its first layer, and the rest."""

    def __init__(self, layers: nn.Sequential) -> None:
        super().__init__()
        self.stages = nn.Sequential(layers[:1], layers[1:])

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.stages(x)
        return logits


@pytest.mark.parametrize("skip_layers", [0, 1])
def test_a_network_is_checked_at_its_first_step_only(skip_layers: int) -> None:
    counting = Counting()
    model = Staged(ready(counting))
    passes = []
    for _ in range(3):
        counting.passes = 0
        weight_gradient(
            model, random_batch(1), random_batch(2), torch.ones(6).double(), LR,
            skip_layers=skip_layers,
        )  # fmt: skip
        passes.append(counting.passes)
    assert passes == [3 + 2, 3, 3]  # the virtual step's, the meta loss's, the tangents'


class Table(nn.Module):
    """Looks up a table that is a buffer, by a product with it."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 3)
        self.register_buffer("table", torch.eye(3))

    def forward(self, x: Tensor) -> Tensor:
        looked_up: Tensor = self.layer(x.mean((2, 3))) @ self.table
        return looked_up


def test_buffers_that_meet_parameters_are_no_alarm() -> None:
    verdict = check_forward_mode(Table(), SHAPE, 3)
    assert (verdict.agrees, verdict.mode) == (True, "forward")
    assert verdict.error < 1e-9
