"""Meta-Weight-Net for class imbalance: weights sum to one, and see how they change the losses.

The virtual step descends J = Σ v̂_i ℓ_i with v̂ = v(ℓ) / Σ v(ℓ), and the losses that the net weighs
are not detached. So ∇J = Σ c_i ∇ℓ_i with c_i = ∂J/∂ℓ_i = v̂_i + Σ_j ℓ_j ∂v̂_j/∂ℓ_i: the step has the
coefficients c, and the net learns from ∂L_meta/∂Θ = Σ (∂L_meta/∂c_i) ∂c_i/∂Θ. The real step has v̂.

Source: Shu et al., "Meta-Weight-Net", NeurIPS 2019, as in the authors' repository
xjtushujun/Meta-weight-net_class-imbalance (meta-weight-net-class-imbalance.py); the net follows SGD
with Nesterov momentum.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from curvetune.batch import Batch
from curvetune.config import MWNetImbConfig
from curvetune.methods.base import Method, Parts
from curvetune.methods.mw_net_noise import LossNet, MetaWeightNet
from curvetune.methods.shared.optimizers import new_sgd
from curvetune.methods.shared.reweight import WeightLearner

NET_MOMENTUM = 0.9  # of the repository's SGD on the weight net


def normalise(weights: Tensor) -> Tensor:
    """Return weights, (B,), rescaled to mean 1; zeros stay zeros."""
    least = torch.finfo(weights.dtype).tiny
    return weights * len(weights) / weights.sum().clamp(min=least)


def coefficients(weigh: Callable[[Tensor], Tensor], losses: Tensor) -> Tensor:
    """Return ∂(Σ w_j(ℓ) ℓ_j)/∂ℓ_i, (B,), with gradient to what `weigh` learns.

    Args:
        weigh: gives weights, (B,), of losses, (B,).
    """
    losses = losses.detach().requires_grad_()
    objective = (weigh(losses) * losses).sum()
    return torch.autograd.grad(objective, losses, create_graph=True)[0]


def build(config: MWNetImbConfig, parts: Parts) -> Method:
    """Build the method from its section of the config."""
    net = LossNet(config.hidden, parts.generator).to(parts.y.device)

    def weigh(losses: Tensor) -> Tensor:
        return normalise(net(losses))

    def weigh_batch(_: Batch, losses: Tensor) -> Tensor:
        return weigh(losses)

    def virtual_weigh(_: Batch, losses: Tensor) -> Tensor:
        return coefficients(weigh, losses)

    learner = WeightLearner(
        net,
        weigh_batch,
        config,
        virtual_step=config.virtual_step,
        virtual_weigh=virtual_weigh,
        optimizer=new_sgd(
            net.parameters(),
            lr=config.weight_lr,
            momentum=NET_MOMENTUM,
            nesterov=True,
            weight_decay=config.weight_decay,
        ),
    )
    return MetaWeightNet(parts.new_model(0), parts.recipe, learner)
