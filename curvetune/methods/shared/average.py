"""An exponential average of a network's weights, which is tested in place of the network."""

import copy

import torch
from torch import nn

from curvetune.methods.base import State


class Average:
    """A copy of a network that trails behind it: an exponential average of its parameters.

    The running statistics of batch norm are the network's own, as released. The first steps are
    forgotten sooner: the decay is at most (1 + t) / (10 + t) after t steps, as in TensorFlow.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.model = copy.deepcopy(network).requires_grad_(False)
        self._network = network
        self._decay = decay
        self._steps = next(network.parameters()).detach().new_zeros(())
        self.state = State(model=self.model, steps=self._steps)

    @torch.no_grad()
    def update(self) -> None:
        """Follow the network after a step."""
        self._steps += 1
        keep = ((1 + self._steps) / (10 + self._steps)).clamp(max=self._decay)
        for mean, value in zip(self.model.parameters(), self._network.parameters(), strict=True):
            mean.lerp_(value, 1 - keep)
        for copied, statistic in zip(self.model.buffers(), self._network.buffers(), strict=True):
            copied.copy_(statistic)
