"""An exponential average of a network's weights, which is tested in place of the network."""

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from curvetune.methods.base import State


class Average:
    """A copy of a network that trails behind it: an exponential average of its parameters.

    The running statistics of batch norm are the network's own, as released. The first steps are
    forgotten sooner: the decay is at most (1 + t) / (10 + t) after t steps, as in TensorFlow.

    Args:
        schedule: returns the decay after so many steps, both 0-d, in place of that.
    """

    def __init__(
        self,
        network: nn.Module,
        decay: float,
        schedule: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self.model = copy.deepcopy(network).requires_grad_(False)
        self._network = network
        self._schedule = schedule or (lambda t: ((1 + t) / (10 + t)).clamp(max=decay))
        self._steps = next(network.parameters()).detach().new_zeros(())
        self.state = State(model=self.model, steps=self._steps)

    @torch.no_grad()
    def update(self) -> None:
        """Follow the network after a step."""
        self._steps += 1
        keep = self._schedule(self._steps)
        for mean, value in zip(self.model.parameters(), self._network.parameters(), strict=True):
            mean.lerp_(value, 1 - keep)
        for copied, statistic in zip(self.model.buffers(), self._network.buffers(), strict=True):
            copied.copy_(statistic)
