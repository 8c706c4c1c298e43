"""Networks with a layer that hides from derivatives, and what is right for them."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torchvision.ops import deform_conv2d, roi_align

from curvetune.batch import Batch
from curvetune.meta import forward

LR = 0.1
SHAPE = (3, 8, 8)


@torch.library.custom_op("curvetune_test::leaky", mutates_args=())
def leaky(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, 0.1 * x)


def _keep(ctx: object, inputs: tuple[Tensor], output: Tensor) -> None:
    ctx.save_for_backward(inputs[0])  # type: ignore[attr-defined]


def _slope(ctx: object, slope: Tensor) -> Tensor:
    (x,) = ctx.saved_tensors  # type: ignore[attr-defined]
    return slope * torch.where(x > 0, 1.0, 0.1).to(slope.dtype)


leaky.register_autograd(_slope, setup_context=_keep)


class Straight(torch.autograd.Function):
    """Rounds, and passes gradients straight through; it has no jvp."""

    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        return (4 * x).round() / 4

    @staticmethod
    def backward(ctx: object, slope: Tensor) -> Tensor:
        return slope.clone()


class Function(nn.Module):
    """A layer that is a function of its input."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


class Deformed(nn.Module):
    """A deformable convolution with offsets of 0."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 4, 3, 3) / 6)

    def forward(self, x: Tensor) -> Tensor:
        return deform_conv2d(x, x.new_zeros(len(x), 18, 4, 4), self.weight)


class Attention(nn.Module):
    """Attention over pixels, by the fused kernel or by `nn.MultiheadAttention`."""

    def __init__(self, fused: bool, dropout: float = 0.0) -> None:
        super().__init__()
        self.layer = nn.MultiheadAttention(4, 2, dropout, batch_first=True)
        self.fused = fused

    def forward(self, x: Tensor) -> Tensor:
        pixels = x.flatten(2).transpose(1, 2)
        seen, _ = self.layer(pixels, pixels, pixels, need_weights=not self.fused)
        return (pixels + seen).transpose(1, 2)


def cut(x: Tensor) -> Tensor:
    """Return what RoI align makes of whole images."""
    boxes = [x.new_tensor([[0.0, 0.0, 5.0, 5.0]])] * len(x)
    return roi_align(x, boxes, 3)


def network(*middle: nn.Module) -> nn.Sequential:
    """Return convolution, batch norm, the layers, and a linear head."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), *middle, nn.Flatten(),
            nn.LazyLinear(5),
        )  # fmt: skip


def ready(*middle: nn.Module, dtype: torch.dtype = torch.float64) -> nn.Sequential:
    """Return `network` with the head's width known."""
    model = network(*middle)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model(torch.zeros(2, *SHAPE))
    return model.to(dtype)


def random_batch(seed: int, size: int = 6, dtype: torch.dtype = torch.float64) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(size, *SHAPE, generator=generator, dtype=dtype)
    return Batch(x, torch.randint(5, (size,), generator=generator), torch.arange(size))


def one_by_one(model: nn.Module, losses: Tensor, direction: list[Tensor]) -> Tensor:
    """The reference: a backward pass for each sample's loss, (B,)."""
    rows = [
        torch.autograd.grad(loss, list(model.parameters()), retain_graph=True) for loss in losses
    ]
    return torch.stack(
        [sum((g * d).sum() for g, d in zip(r, direction, strict=True)) for r in rows]  # type: ignore[misc]
    )


def products_are_right(model: nn.Module, tolerance: float = 1e-9) -> None:
    """Compare inner products and logit tangents with one backward pass for each sample."""
    passed = forward(model, random_batch(1))
    generator = torch.Generator().manual_seed(2)
    direction = [
        torch.randn(p.shape, generator=generator, dtype=p.dtype) for p in model.parameters()
    ]
    expected = one_by_one(model, passed.losses, direction)
    torch.testing.assert_close(
        passed.inner_products(direction), expected, rtol=tolerance, atol=tolerance
    )
    logits = one_by_one(model, passed.logits.flatten(), direction).reshape(passed.logits.shape)
    torch.testing.assert_close(
        passed.logit_tangents(direction), logits, rtol=tolerance, atol=tolerance
    )
