"""Networks in 16 bits in oneDNN's layout, against the same networks in float64."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from curvetune import models
from curvetune.batch import Batch
from curvetune.meta import forward, weight_gradient
from curvetune.models.precision import use_bfloat16
from curvetune.models.sixteen import Stage, has_bfloat16
from curvetune.models.wide_resnet import WideResNet

pytestmark = pytest.mark.skipif(not has_bfloat16(), reason="oneDNN has no bfloat16 here")

ONEDNN = "bfloat16-onednn"
SIZE = 32


def built(name: str, precision: str, dtype: torch.dtype = torch.float32) -> nn.Module:
    if name == "small WRN":
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model: nn.Module = WideResNet(1, 2, 10, 3)
        if precision == ONEDNN:
            use_bfloat16(model, by_onednn=True)
    else:
        generator = torch.Generator().manual_seed(0)
        model = models.build(name, 10, init="kaiming", precision=precision, generator=generator)
    return model.to(dtype).to(memory_format=torch.channels_last)


def batch(seed: int, dtype: torch.dtype = torch.float32) -> Batch:
    """Images whose class shows: noise on a pattern for each class."""
    draws = torch.Generator().manual_seed(seed)
    patterns = torch.randn(10, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    y = torch.arange(SIZE) % 10
    x = patterns[y] + torch.randn(SIZE, 3, 16, 16, generator=draws)
    x = x.to(dtype).contiguous(memory_format=torch.channels_last)
    return Batch(x, y, torch.arange(SIZE))


def cosine(found: Tensor, expected: Tensor) -> float:
    return float(F.cosine_similarity(found.detach().double(), expected.detach().double(), dim=0))


def flat(tensors: list[Tensor]) -> Tensor:
    return torch.cat([tensor.flatten() for tensor in tensors])


def slopes(model: nn.Module, of: Batch) -> Tensor:
    loss = F.cross_entropy(model(of.x), of.y)
    return flat(list(torch.autograd.grad(loss, list(model.parameters()))))


@pytest.mark.parametrize("name", ["resnet8", "resnet32", "small WRN"])
def test_the_meta_gradient_is_that_of_float64_but_for_rounding(name: str) -> None:
    exact = torch.float64
    weights = torch.rand(SIZE, generator=torch.Generator().manual_seed(1))
    expected = weight_gradient(
        built(name, "float32", exact), batch(1, exact), batch(2, exact), weights.double(), 0.02
    )
    found = weight_gradient(built(name, ONEDNN), batch(1), batch(2), weights, 0.02)
    assert found.dtype == torch.float32
    assert cosine(found, expected) > 0.99
    assert cosine(found - found.mean(), expected - expected.mean()) > 0.98


@pytest.mark.parametrize("skip_layers", [1, 3])
def test_with_frozen_stages_it_is_too(skip_layers: int) -> None:
    weights = torch.rand(SIZE, generator=torch.Generator().manual_seed(1))
    found, expected = (
        weight_gradient(
            built("resnet8", precision, dtype),
            batch(1, dtype),
            batch(2, dtype),
            weights.to(dtype),
            0.02,
            skip_layers=skip_layers,
        )
        for precision, dtype in ((ONEDNN, torch.float32), ("float32", torch.float64))
    )
    assert cosine(found, expected) > 0.99


@pytest.mark.parametrize("name", ["resnet8", "small WRN"])
def test_a_tangent_is_what_the_backward_pass_makes_of_its_direction(name: str) -> None:
    """Both are derivatives of the same rounded network, so they agree better than with float64."""
    model, images = built(name, ONEDNN), batch(1)
    passed = forward(model, images, update_statistics=False)
    params = list(passed.params.values())
    counts = torch.rand(SIZE, generator=torch.Generator().manual_seed(1))
    gradient = torch.autograd.grad(passed.losses, params, counts, retain_graph=True)
    direction = [slope / slope.norm() for slope in gradient]
    found = (counts * passed.inner_products(direction)).sum()
    expected = torch.stack([slope.norm() for slope in gradient]).sum()
    torch.testing.assert_close(found, expected, rtol=0.02, atol=0.0)


@pytest.mark.parametrize("name", ["resnet8", "small WRN"])
def test_a_step_is_that_of_float64_but_for_rounding(name: str) -> None:
    half, exact = built(name, ONEDNN), built(name, "float32", torch.float64)
    assert cosine(slopes(half, batch(1)), slopes(exact, batch(1, torch.float64))) > 0.99
    for mine, right in zip(half.buffers(), exact.buffers(), strict=True):
        torch.testing.assert_close(mine.double(), right.double(), rtol=0.02, atol=0.005)


def test_the_steps_of_a_network_run_by_their_tapes_and_its_evaluation_does_not() -> None:
    model = built("resnet8", ONEDNN)
    body = list(model.stages)[:-1]  # type: ignore[call-overload]
    assert all(isinstance(vars(stage)["forward"], Stage) for stage in body)
    assert body[0](batch(1).x).is_mkldnn
    assert not body[0].eval()(batch(1).x).is_mkldnn
    evaluated = [built("resnet8", p).eval()(batch(1).x) for p in (ONEDNN, "bfloat16")]
    assert torch.equal(*evaluated)


def test_a_pass_that_somebody_watches_is_an_ordinary_one() -> None:
    model = built("resnet8", ONEDNN)
    seen: list[Tensor] = []
    norm = next(m for m in model.stages[1].modules() if isinstance(m, nn.BatchNorm2d))  # type: ignore[index]
    handle = norm.register_forward_hook(lambda _m, _x, y: seen.append(y))
    watched = model(batch(1).x)
    handle.remove()
    assert len(seen) == 1
    assert not seen[0].is_mkldnn
    assert cosine(watched.flatten(), model(batch(1).x).flatten()) > 0.99


def test_a_stage_in_evaluation_mode_moves_with_those_that_run_by_their_tapes() -> None:
    """Tangents pass from a tape to a stage under autocast and back."""
    model, exact = built("resnet8", ONEDNN), built("resnet8", "float32", torch.float64)
    products = []
    for each, images in ((model, batch(1)), (exact, batch(1, torch.float64))):
        each.stages[2].eval()  # type: ignore[index]
        passed = forward(each, images, update_statistics=False)
        direction = [torch.ones_like(p) * p.norm() / p.numel() for p in passed.params.values()]
        products.append(passed.inner_products(direction))
    assert cosine(*products) > 0.99


def test_a_pass_at_other_parameters_leaves_the_network_as_it_was() -> None:
    model = built("resnet8", ONEDNN)
    before = copy.deepcopy(model.state_dict())
    moved = {name: param.detach() * 2 for name, param in model.named_parameters()}
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    functional_call(model, {**moved, **buffers}, (batch(1).x,))
    weight_gradient(model, batch(1), batch(2), torch.ones(SIZE), 0.1)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_copy_of_a_network_runs_by_its_own_parameters() -> None:
    model = built("resnet8", ONEDNN)
    other = copy.deepcopy(model)
    with torch.no_grad():
        for param in other.parameters():
            param.mul_(1.5)
    assert not torch.equal(model(batch(1).x), other(batch(1).x))
    assert torch.equal(model(batch(1).x), built("resnet8", ONEDNN)(batch(1).x))


def test_a_stage_without_a_bias_of_its_own_kind_runs_under_autocast() -> None:
    unknown = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.GELU())
    unknown.forward = Stage(unknown, unknown.forward, is_last=False)  # type: ignore[method-assign]
    assert not unknown(batch(1).x).is_mkldnn
