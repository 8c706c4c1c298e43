"""What a method's first step must do to the classifier, worked out by hand; and random logits."""

from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from toy import batches, toy

from curvetune.batch import Batch


def after_step(
    model: nn.Module, loss: Tensor, lr: float, *, spared: Tensor | None = None
) -> list[Tensor]:
    """Return the parameters after the first step of SGD with Nesterov's momentum .9, wd 5e-4."""
    params = list(model.parameters())
    after = []
    for param, slope in zip(params, torch.autograd.grad(loss, params), strict=True):
        step = slope if param is spared else slope + 5e-4 * param
        after.append((param - lr * 1.9 * step).detach())
    return after


def check_params(model: nn.Module, expected: list[Tensor]) -> None:
    for param, value in zip(model.parameters(), expected, strict=True):
        torch.testing.assert_close(param.detach(), value, rtol=1e-6, atol=1e-6)


def step_and_copy(case: tuple[str, dict[str, Any]], epoch: int = 0) -> tuple[Any, nn.Module, Batch]:
    """Return a method after its first step, the classifier before it, and the batch."""
    method, batch = toy(case), batches(1)[0]
    before = deepcopy(method.model)
    method.start_epoch(epoch)
    method.step(batch, None)
    return method, before, batch


def random_logits(size: int = 12, num_classes: int = 4, *, spread: float = 2.0) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    return spread * torch.randn(size, num_classes, generator=generator, dtype=torch.float64)


def some_labels(size: int = 12, num_classes: int = 4) -> Tensor:
    return torch.arange(size) % num_classes
