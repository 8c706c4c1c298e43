"""The meta gradient against the double backward, finite differences, and what it must not touch."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from curvetune import models
from curvetune.batch import Batch
from curvetune.meta import forward, meta_gradient, weight_gradient

LR = 0.1


def random_batch(seed: int, size: int = 6, channels: int = 3, pixels: int = 8) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(size, channels, pixels, pixels, generator=generator, dtype=torch.float64)
    return Batch(x, torch.randint(5, (size,), generator=generator), torch.arange(size))


def small_resnet(name: str = "resnet8") -> nn.Module:
    """Return a ResNet in float64 whose running statistics are not the initial ones."""
    model = models.build(name, 5, generator=torch.Generator().manual_seed(0)).double()
    model(random_batch(seed=7).x)
    return model


def optimizer_of(
    model: nn.Module, *, momentum: float, nesterov: bool, decay: float
) -> torch.optim.SGD:
    """Return an SGD that has taken two steps, so that its buffers are not empty."""
    optimizer = torch.optim.SGD(
        model.parameters(), LR, momentum=momentum, nesterov=nesterov, weight_decay=decay
    )
    for seed in (20, 21):
        batch = random_batch(seed)
        optimizer.zero_grad()
        F.cross_entropy(model(batch.x), batch.y).backward()
        optimizer.step()
    return optimizer


def moved(
    params: dict[str, Tensor], slopes: tuple[Tensor, ...], optimizer: torch.optim.SGD | None
) -> dict[str, Tensor]:
    """Take torch.optim.SGD's step differentiably, written from its documentation."""
    if optimizer is None:
        return {name: p - LR * g for (name, p), g in zip(params.items(), slopes, strict=True)}
    group = optimizer.param_groups[0]
    ahead = {}
    for (name, p), g in zip(params.items(), slopes, strict=True):
        g = g + group["weight_decay"] * p.detach()
        if group["momentum"]:
            old = optimizer.state[p]["momentum_buffer"]
            buffer = group["momentum"] * old + g
            g = g + group["momentum"] * buffer if group["nesterov"] else buffer
        ahead[name] = p.detach() - LR * g
    return ahead


def double_backward(
    model: nn.Module,
    batch: Batch,
    meta: Batch,
    weights: Tensor,
    skip_layers: int = 0,
    optimizer: torch.optim.SGD | None = None,
) -> Tensor:
    """The oracle: differentiate through the virtual step (Ren et al., ICML 2018)."""
    model = copy.deepcopy(model) if optimizer is None else model
    live: nn.Module = model
    x, meta_x = batch.x, meta.x
    if skip_layers:
        frozen = copy.deepcopy(model.stages[:skip_layers]).eval()
        live = model.stages[skip_layers:]
        x, meta_x = frozen(x).detach(), frozen(meta_x).detach()
    params = dict(live.named_parameters())
    stats = {name: buffer.clone() for name, buffer in live.named_buffers()}
    weights = weights.clone().requires_grad_()
    losses = F.cross_entropy(functional_call(live, params | stats, (x,)), batch.y, reduction="none")
    slopes = torch.autograd.grad(
        (weights * losses).mean(), list(params.values()), create_graph=True
    )
    ahead = moved(params, slopes, optimizer)
    meta_loss = F.cross_entropy(functional_call(live, ahead | stats, (meta_x,)), meta.y)
    return torch.autograd.grad(meta_loss, weights)[0]


def relative_error(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


@pytest.mark.parametrize("skip_layers", [0, 1, 2, 3])
def test_it_equals_the_double_backward_with_any_number_of_frozen_stages(skip_layers: int) -> None:
    model, batch, meta = small_resnet(), random_batch(1), random_batch(2)
    weights = torch.rand(6, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    found = weight_gradient(model, batch, meta, weights, LR, skip_layers=skip_layers)
    expected = double_backward(model, batch, meta, weights, skip_layers)
    assert relative_error(found, expected) < 1e-9


@pytest.mark.parametrize("skip_layers", [0, 2])
@pytest.mark.parametrize(
    ("momentum", "nesterov", "decay"),
    [(0.0, False, 0.0), (0.9, False, 0.0), (0.9, True, 0.0), (0.9, True, 5e-4), (0.0, False, 5e-4)],
)
def test_it_equals_the_double_backward_through_the_optimizers_own_step(
    momentum: float, nesterov: bool, decay: float, skip_layers: int
) -> None:
    model, batch, meta = small_resnet(), random_batch(1), random_batch(2)
    optimizer = optimizer_of(model, momentum=momentum, nesterov=nesterov, decay=decay)
    weights = torch.rand(6, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    found = weight_gradient(
        model, batch, meta, weights, LR, skip_layers=skip_layers, optimizer=optimizer
    )
    expected = double_backward(model, batch, meta, weights, skip_layers, optimizer)
    assert relative_error(found, expected) < 1e-9


def test_nesterov_makes_the_gradient_one_plus_momentum_times_larger_to_first_order() -> None:
    model, batch, meta = small_resnet(), random_batch(1), random_batch(2)
    weights = torch.full((6,), 0.5, dtype=torch.float64)
    sgd = torch.optim.SGD(model.parameters(), 1e-6, momentum=0.9, nesterov=True)
    plain = weight_gradient(model, batch, meta, weights, 1e-6)
    nesterov = weight_gradient(model, batch, meta, weights, 1e-6, optimizer=sgd)
    torch.testing.assert_close(nesterov / plain, torch.full_like(plain, 1.9), rtol=1e-3, atol=0)


@pytest.mark.parametrize("nesterov", [False, True])
def test_it_equals_finite_differences_on_a_small_network(nesterov: bool) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 7), nn.Tanh(), nn.Linear(7, 5)).double()
    batch, meta = random_batch(1, pixels=4), random_batch(2, pixels=4)
    optimizer = optimizer_of_small(model, nesterov)
    weights = torch.rand(6, dtype=torch.float64)

    def meta_loss(weights: Tensor) -> Tensor:
        twin = copy.deepcopy(model)
        twin_sgd = optimizer_of_small(twin, nesterov)
        losses = F.cross_entropy(twin(batch.x), batch.y, reduction="none")
        (weights * losses).mean().backward()
        twin_sgd.step()  # torch's own optimizer takes the virtual step
        return F.cross_entropy(twin(meta.x), meta.y).detach()

    found = weight_gradient(model, batch, meta, weights, LR, optimizer=optimizer)
    for k in range(6):
        nudge = torch.zeros(6, dtype=torch.float64)
        nudge[k] = 1e-4
        slope = (meta_loss(weights + nudge) - meta_loss(weights - nudge)) / 2e-4
        torch.testing.assert_close(found[k], slope, rtol=1e-5, atol=1e-10)


def optimizer_of_small(model: nn.Module, nesterov: bool) -> torch.optim.SGD:
    return torch.optim.SGD(
        model.parameters(), LR, momentum=0.8, nesterov=nesterov, weight_decay=1e-3
    )


def test_a_network_of_layers_without_rules_of_their_own_is_exact_too() -> None:
    torch.manual_seed(1)
    model = nn.Sequential(
        nn.BatchNorm2d(3),
        nn.Conv2d(3, 4, 3, padding=1, padding_mode="circular"),
        nn.GroupNorm(2, 4),
        nn.GELU(),
        nn.Conv2d(4, 4, 3, bias=True),
        nn.BatchNorm2d(4, affine=False),
        nn.Flatten(),
        nn.Linear(144, 5),
    ).double()
    batch, meta, weights = random_batch(1), random_batch(2), torch.rand(6, dtype=torch.float64)
    found = weight_gradient(model, batch, meta, weights, LR)
    assert relative_error(found, double_backward(model, batch, meta, weights)) < 1e-9


def test_a_pass_that_the_caller_made_already_gives_the_same_gradient() -> None:
    model, batch, meta = small_resnet("resnet20"), random_batch(1), random_batch(2)
    weights = torch.rand(6, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    alone = weight_gradient(model, batch, meta, weights, LR)
    shared, meta_loss = meta_gradient(model, batch, meta, weights, LR, passed=forward(model, batch))
    torch.testing.assert_close(shared, alone, rtol=0, atol=0)
    assert meta_loss.shape == ()


@pytest.mark.parametrize("skip_layers", [0, 2])
def test_a_finite_difference_is_near_the_exact_gradient(skip_layers: int) -> None:
    model, batch, meta = small_resnet("resnet20"), random_batch(1), random_batch(2)
    weights = torch.rand(6, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    found, meta_loss = meta_gradient(
        model, batch, meta, weights, LR, skip_layers=skip_layers, finite_difference=True
    )
    exact, same = meta_gradient(model, batch, meta, weights, LR, skip_layers=skip_layers)
    assert 0 < relative_error(found, exact) < 0.1  # and it is another calculation
    assert torch.equal(meta_loss, same)


@pytest.mark.parametrize("skip_layers", [0, 1, 3])
def test_the_model_its_statistics_and_the_optimizer_are_left_as_they_were(skip_layers: int) -> None:
    model = small_resnet()
    optimizer = optimizer_of(model, momentum=0.9, nesterov=True, decay=5e-4)
    model.stages[1].eval()
    before = copy.deepcopy((model.state_dict(), optimizer.state_dict()))
    modes = [module.training for module in model.modules()]
    gradients = [None if p.grad is None else p.grad.clone() for p in model.parameters()]
    weights = torch.ones(6, dtype=torch.float64)
    weight_gradient(
        model, random_batch(1), random_batch(2), weights, LR,
        skip_layers=skip_layers, optimizer=optimizer,
    )  # fmt: skip
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[0][name]), name
    for key, state in optimizer.state_dict()["state"].items():
        assert torch.equal(state["momentum_buffer"], before[1]["state"][key]["momentum_buffer"])
    assert [module.training for module in model.modules()] == modes
    assert all("forward" not in vars(module) for module in model.modules())
    for p, old in zip(model.parameters(), gradients, strict=True):
        assert (p.grad is None) == (old is None)
        assert old is None or torch.equal(p.grad, old)


def test_it_refuses_a_step_that_it_does_not_know() -> None:
    model, batch = small_resnet(), random_batch(1)
    weights = torch.ones(6, dtype=torch.float64)
    with pytest.raises(ValueError, match="allowed are 0 to 4"):
        weight_gradient(model, batch, batch, weights, LR, skip_layers=5)
    with pytest.raises(ValueError, match=r"torch\.optim\.SGD"):
        weight_gradient(
            model, batch, batch, weights, LR, optimizer=torch.optim.Adam(model.parameters())
        )
