"""FaMUS: Meta-Weight-Net whose meta gradient goes through a few layers, chosen at every step.

The virtual step is that of `mw_net_noise`. Its gradient with respect to the weights,
−(lr / B) Σ_l ⟨∇_l L_meta(ω̂), ∇_l ℓ_i(ω)⟩, keeps the layers l whose gate r_l is open. The gates'
networks minimise L_meta + λ1 (Σ r_l − K)². The weight net minimises L_meta and
λ2 ‖ḡ_train − ḡ_meta‖²: the pooled gradients of the last layer depend on the weights, on no gate.

Source: Xu et al., "Faster Meta Update Strategy for Noise-Robust Deep Learning", CVPR 2021, as in
the authors' repository youjiangxu/FaMUS (FaMUS/grad_operator_layer.py).
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from curvetune.batch import Batch
from curvetune.config import FaMUSConfig
from curvetune.meta import forward
from curvetune.methods.base import Method, Parts, Recipe, State, set_lr, sgd
from curvetune.methods.mw_net_noise import LossNet
from curvetune.methods.shared.layer_gates import GateNets, agreement, draw_gates, layers_of, pooled
from curvetune.methods.shared.optimizers import new_sgd
from curvetune.methods.shared.reweight import WeightLearner
from curvetune.models import last_layer

SAMPLER_MOMENTUM = 0.9  # of the repository's SGD on the gates' networks, with Nesterov's


def gate_gradient(
    gates: Tensor, agreeing: Tensor, *, lr: float, open_layers: float, open_weight: float
) -> Tensor:
    """Return d(L_meta + λ1 (Σ r − K)²)/dr, (L,).

    As released, an open layer steps along r g and a shut one along (1 − r) g, with g held: both
    are the plain step, but the sign of ∂L_meta/∂r differs.

    Args:
        gates: (L,), 0 or 1.
        agreeing: (L,), ⟨∇_l L_meta(ω̂), ∇_l L_train(ω)⟩.
    """
    sign = 2 * gates - 1
    return -lr * sign * agreeing + 2 * open_weight * (gates.sum() - open_layers)


def mismatch_gradient(train: Tensor, meta: Tensor) -> Tensor:
    """Return d/d`train` of the mean square of pooled(train) − pooled(meta), of their shape."""
    difference = pooled(train) - pooled(meta)
    slope = 2 / len(difference) * difference / train[0].numel()
    return slope.reshape(-1, *[1] * (train.dim() - 1)).expand_as(train)


class GateSampler:
    """Draws gates for the layers, and trains the networks that they are drawn from."""

    def __init__(self, nets: GateNets, config: FaMUSConfig, draws: torch.Generator) -> None:
        self.nets = nets
        self._config = config
        self._draws = draws
        self._optimizer = new_sgd(
            nets.parameters(), lr=config.sampler_lr, momentum=SAMPLER_MOMENTUM, nesterov=True
        )
        self.state = State(nets=nets, optimizer=self._optimizer, draws=draws)

    def update(self, train: Sequence[Tensor], meta: Sequence[Tensor], lr: float) -> Tensor:
        """Return gates for this step, (L,) of 0 and 1, and learn from them.

        Args:
            train: ∇L_train(ω), one tensor for each parameter.
            meta: ∇L_meta(ω̂), likewise.
            lr: of the virtual step.
        """
        gates = draw_gates(self.nets(train), self._draws)
        drawn = gates.detach()
        slope = gate_gradient(
            drawn,
            agreement(train, meta, self.nets.layers),
            lr=lr,
            open_layers=self._config.open_layers,
            open_weight=self._config.open_weight,
        )
        self._optimizer.zero_grad()
        gates.backward(slope)  # type: ignore[no-untyped-call]
        self._optimizer.step()
        return drawn


class FaMUS:
    """The method: see the module.

    Args:
        match_weight: λ2.
    """

    phase: object = None  # every step does the same operations

    def __init__(
        self,
        model: nn.Module,
        recipe: Recipe,
        learner: WeightLearner,
        sampler: GateSampler,
        *,
        match_weight: float,
    ) -> None:
        self.model = model
        self._recipe = recipe
        self._learner = learner
        self._sampler = sampler
        self._match_weight = match_weight
        last = {id(p) for p in last_layer(model).parameters()}
        self._is_last = [id(p) in last for p in model.parameters()]
        self._optimizer = sgd(model, recipe)
        self.state = State(
            model=model, optimizer=self._optimizer, learner=learner.state, sampler=sampler.state
        )

    def start_epoch(self, epoch: int) -> None:
        """Set the learning rate, which is also the virtual step's."""
        set_lr(self._optimizer, self._recipe.lr_at(epoch))

    def step(self, batch: Batch, meta: Batch | None) -> dict[str, Tensor]:
        """Choose layers, update the weight net through them, then take the weighted step."""
        assert meta is not None
        passed = forward(self.model, batch)
        opened: list[Tensor] = []

        def steer(train: Sequence[Tensor], towards: Sequence[Tensor]) -> list[Tensor]:
            lr = float(self._optimizer.param_groups[0]["lr"])
            gates = self._sampler.update(train, towards, lr)
            opened.append(gates.sum())
            return self._direction(train, towards, gates, lr)

        weights, metrics = self._learner.step(passed, meta, self._optimizer, steer=steer)
        return {
            "loss": passed.losses.detach(),
            "weight": weights,
            **metrics,
            "open_layers": opened[0],
        }

    def _direction(
        self, train: Sequence[Tensor], meta: Sequence[Tensor], gates: Tensor, lr: float
    ) -> list[Tensor]:
        """Return the meta gradient where gates are open, and the pull of the last layer.

        What is returned is multiplied by −lr / B later, which the pull has nothing to do with.
        """
        direction = [
            g * gates[layer] for g, layer in zip(meta, self._sampler.nets.layers, strict=True)
        ]
        if self._match_weight:
            for k, last in enumerate(self._is_last):
                if last:
                    pull = mismatch_gradient(train[k], meta[k])
                    direction[k] = direction[k] - self._match_weight / lr * pull
        return direction


def build(config: FaMUSConfig, parts: Parts) -> Method:
    """Build the method from its section of the config."""
    model, device = parts.new_model(0), parts.y.device
    net = LossNet(config.hidden, parts.generator).to(device)
    learner = WeightLearner(net, lambda _, losses: net(losses), config, virtual_step="sgd")
    widths = [len(p) for p in model.parameters()]
    nets = GateNets(widths, layers_of(model), config.sampler_hidden, parts.generator).to(device)
    sampler = GateSampler(nets, config, parts.draws)
    return FaMUS(model, parts.recipe, learner, sampler, match_weight=config.match_weight)
