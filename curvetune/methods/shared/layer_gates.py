"""Gates on the layers of a classifier, and the small networks that open and close them (FaMUS).

A layer is a residual block, or a whole stage that has none: stem and head. The gate r_l of a layer
is drawn by Gumbel-softmax from a network of that layer's training gradient, pooled to one number
for each output channel.

Source: Xu et al., "Faster Meta Update Strategy for Noise-Robust Deep Learning", CVPR 2021, as in
the authors' repository youjiangxu/FaMUS (FaMUS/grad_operator_layer.py).
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from curvetune.methods.shared.reweight import redraw_linear
from curvetune.models import stages_of

EPSILON = 1e-9  # of the repository; keeps a gradient of zeros finite


def layers_of(model: nn.Module) -> list[int]:
    """Return the number of the layer that each of the model's parameters is in, front to back."""
    stages = stages_of(model)
    layers: list[nn.Module] = []
    for stage in stages:
        parts = list(stage.children())
        layers += parts if all(list(part.children()) for part in parts) else [stage]
    layers = [layer for layer in layers if list(layer.parameters())]
    number = {id(p): k for k, layer in enumerate(layers) for p in layer.parameters()}
    return [number[id(p)] for p in model.parameters()]


def pooled(gradient: Tensor) -> Tensor:
    """Return the mean of a parameter's gradient over all but its first dimension, (width,)."""
    return gradient.reshape(len(gradient), -1).mean(dim=1)


def standardise(x: Tensor) -> Tensor:
    """Return a vector less its mean, over its standard deviation."""
    return (x - x.mean()) / (x.std() + EPSILON)


def by_layer(values: Sequence[Tensor], layers: Sequence[int]) -> list[list[Tensor]]:
    """Return the values, one for each parameter, as a list for each layer."""
    lists: list[list[Tensor]] = [[] for _ in range(max(layers) + 1)]
    for value, layer in zip(values, layers, strict=True):
        lists[layer].append(value)
    return lists


def agreement(one: Sequence[Tensor], other: Sequence[Tensor], layers: Sequence[int]) -> Tensor:
    """Return the inner product of two gradients in each layer, (L,)."""
    products = [(a * b).sum() for a, b in zip(one, other, strict=True)]
    return torch.stack([torch.stack(part).sum() for part in by_layer(products, layers)])


class GateNets(nn.Module):
    """For each layer: pooled gradient → FC `hidden` → PReLU → FC 2, the scores of shut and open."""

    def __init__(
        self, widths: Sequence[int], layers: Sequence[int], hidden: int, generator: torch.Generator
    ) -> None:
        """Take the width of each parameter, its first dimension, and the layer that it is in."""
        super().__init__()
        self.layers = layers
        inputs = [0] * (max(layers) + 1)
        for width, layer in zip(widths, layers, strict=True):
            inputs[layer] += width
        with torch.random.fork_rng(devices=[]):  # PyTorch's own initial values draw from it
            self.nets = nn.ModuleList(
                nn.Sequential(nn.Linear(size, hidden), nn.PReLU(), nn.Linear(hidden, 2))
                for size in inputs
            )
        redraw_linear(self, generator)

    def forward(self, gradients: Sequence[Tensor]) -> Tensor:
        """Return scores, (L, 2), of the training gradient, one tensor for each parameter."""
        parts = by_layer([pooled(gradient) for gradient in gradients], self.layers)
        rows = zip(self.nets, parts, strict=True)
        return torch.stack([net(standardise(torch.cat(part))) for net, part in rows])


def draw_gates(scores: Tensor, draws: torch.Generator) -> Tensor:
    """Return gates in {0, 1}, (L,), with the gradient of their Gumbel-softmax probability.

    Args:
        scores: (L, 2), of shut and open.
    """
    noise = torch.empty_like(scores).exponential_(generator=draws).log()
    soft = (scores - noise).softmax(dim=1)[:, 1]
    hard = (soft.detach() > 0.5).to(soft.dtype)
    return hard + (soft - soft.detach())
