"""What the tests of methods with two networks have in common: their formulas by hand."""

import copy
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from curvetune.models import Ensemble

Array = NDArray[np.float64]


def rand(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(*shape, generator=generator, dtype=torch.float64)


def probabilities(*shape: int, seed: int = 0) -> Tensor:
    return (4 * rand(*shape, seed=seed)).softmax(dim=-1)


def softmax(z: Tensor) -> Array:
    e = np.exp(z.numpy() - z.numpy().max(axis=1, keepdims=True))
    return np.asarray(e / e.sum(axis=1, keepdims=True))


def log_softmax(z: Tensor) -> Array:
    return np.log(softmax(z))


def copies(model: Ensemble) -> list[Any]:
    return [copy.deepcopy(network) for network in model.networks]


def draws_of(method: Any) -> torch.Generator:
    """Return a generator that draws what the method's will."""
    (generator,) = method.state.generators()
    same = torch.Generator()
    same.set_state(generator.get_state())
    return same


def descended(network: nn.Module, loss: Tensor, lr: float) -> dict[str, Tensor]:
    """Return the parameters after a first step of SGD with Nesterov's momentum, by hand."""
    named = dict(network.named_parameters())
    slopes = torch.autograd.grad(loss, list(named.values()))
    return {
        name: p.detach() - lr * 1.9 * (g + 5e-4 * p.detach())
        for (name, p), g in zip(named.items(), slopes, strict=True)
    }


def assert_parameters(network: nn.Module, expected: dict[str, Tensor]) -> None:
    for name, value in network.named_parameters():
        torch.testing.assert_close(value.detach(), expected[name], rtol=2e-4, atol=2e-6)
