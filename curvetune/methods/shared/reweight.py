"""What methods share that learn a network of sample weights from a meta set.

One step: weigh the batch, take a virtual step of the classifier, see how the meta loss changes
with each weight, update the weight network by that, weigh again, and take the real step. One
forward pass of the classifier serves the virtual and the real step (docs/architecture.md).

With `update: lag-1` the batch is weighed once. The real step goes along the slopes of the virtual
one, so one backward pass serves both, and what the network learned counts from the next batch.

Source: Shu et al., "Meta-Weight-Net", NeurIPS 2019, Eq. 3 to 5.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from curvetune.batch import Batch
from curvetune.config import WeightNetConfig
from curvetune.meta import Forward, meta_gradient, through_step, weighted_slopes
from curvetune.meta.gradient import Steer
from curvetune.methods.base import State, descend
from curvetune.methods.shared.optimizers import new_adam

Weigh = Callable[[Batch, Tensor], Tensor]  # the batch, its losses (B,) -> weights (B,)


class WeightLearner:
    """A weight network and the optimizer that follows its meta gradient.

    Args:
        weigh: gives the weights, (B,), of a batch from its losses, with gradient to `net`.
        virtual_step: the optimizer's own step, or Eq. 11's plain SGD.
        virtual_weigh: like `weigh`, for the virtual step, where that has other weights.
        optimizer: of `net`; Adam by default.
    """

    def __init__(
        self,
        net: nn.Module,
        weigh: Weigh,
        config: WeightNetConfig,
        *,
        virtual_step: str,
        virtual_weigh: Weigh | None = None,
        optimizer: torch.optim.Optimizer | None = None,
    ) -> None:
        self.net = net
        self._weigh = weigh
        self._virtual_weigh = virtual_weigh or weigh
        self._skip_layers = config.skip_layers
        self._finite = config.meta_gradient == "finite_difference"
        self._own_step = virtual_step == "optimizer"
        self._lags = config.update == "lag-1"
        self._optimizer = optimizer or new_adam(
            net.parameters(), lr=config.weight_lr, weight_decay=config.weight_decay
        )
        self.state = State(net=net, optimizer=self._optimizer)

    def step(
        self,
        passed: Forward,
        meta: Batch | None,
        optimizer: torch.optim.Optimizer,
        *,
        steer: Steer | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Update the network and take the real step.

        Args:
            passed: the classifier's pass over the batch.
            meta: None at the steps between two updates (`meta_every`), which have no metrics.
            optimizer: the classifier's.
            steer: as in `meta_gradient`.

        Returns:
            The weights that counted, (B,), and metrics: the meta loss before, 0-d.
        """
        if meta is not None and self._lags:
            return self._step_along(passed, meta, optimizer, steer)
        metrics: dict[str, Tensor] = {}
        if meta is None:
            weights = self.weights(passed.batch, passed.losses.detach())
        else:
            weights, metrics = self._update(passed, meta, optimizer, steer)
        weighted_step(passed, weights, optimizer)
        return weights, metrics

    def _step_along(
        self,
        passed: Forward,
        meta: Batch,
        optimizer: torch.optim.Optimizer,
        steer: Steer | None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Do both with the weights of before the update."""
        weights = self._weigh(passed.batch, passed.losses.detach())
        slopes = weighted_slopes(passed, weights)
        slope, meta_loss = through_step(
            passed,
            slopes,
            meta,
            optimizer.param_groups[0]["lr"],
            optimizer=optimizer if self._own_step else None,
            steer=steer,
            finite_difference=self._finite,
        )
        self._follow(weights, slope)
        for param, along in zip(passed.params.values(), slopes, strict=True):
            param.grad = along
        optimizer.step()
        return weights.detach(), {"meta_loss": meta_loss}

    def _update(
        self,
        passed: Forward,
        meta: Batch,
        optimizer: torch.optim.Optimizer,
        steer: Steer | None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Update the network; return new weights, (B,), and metrics.

        The classifier's optimizer is used and left alone.
        """
        losses = passed.losses.detach()
        weights = self._virtual_weigh(passed.batch, losses)
        slope, meta_loss = meta_gradient(
            passed.model,
            passed.batch,
            meta,
            weights,
            optimizer.param_groups[0]["lr"],
            skip_layers=self._skip_layers,
            optimizer=optimizer if self._own_step else None,
            passed=None if self._skip_layers else passed,
            steer=steer,
            finite_difference=self._finite,
        )
        self._follow(weights, slope)
        return self.weights(passed.batch, losses), {"meta_loss": meta_loss}

    def _follow(self, weights: Tensor, slope: Tensor) -> None:
        """Take a step of the network, from the meta gradient for its weights, both (B,)."""
        self._optimizer.zero_grad()
        weights.backward(slope)  # type: ignore[no-untyped-call]
        self._optimizer.step()

    def weights(self, batch: Batch, losses: Tensor) -> Tensor:
        """Return the network's weights for a batch, (B,), without gradient."""
        with torch.no_grad():
            return self._weigh(batch, losses)


def redraw_linear(net: nn.Module, generator: torch.Generator) -> None:
    """Draw PyTorch's default initial values of all linear layers of `net` from a generator."""
    for layer in net.modules():
        if isinstance(layer, nn.Linear):
            bound = layer.in_features**-0.5
            nn.init.uniform_(layer.weight, -bound, bound, generator=generator)
            nn.init.uniform_(layer.bias, -bound, bound, generator=generator)


def weighted_step(passed: Forward, weights: Tensor, optimizer: torch.optim.Optimizer) -> None:
    """Take the real step on (1/B) Σ v_i ℓ_i: as CurveNet-V1 and MW-Net, not divided by Σ v_i."""
    descend((weights * passed.losses).mean(), optimizer)
