"""Meta-Weight-Net for label noise: the weight of a sample is an MLP of its current loss.

Source: Shu et al., "Meta-Weight-Net: Learning an Explicit Mapping For Sample Weighting", NeurIPS
2019, as in the authors' repository xjtushujun/meta-weight-net (MW-Net.py): Σ v ℓ / B not
normalised, the loss that is weighed is detached, the virtual step is plain SGD, the net follows
Adam.
"""

import torch
from torch import Tensor, nn

from curvetune.batch import Batch
from curvetune.config import MWNetNoiseConfig
from curvetune.meta import forward
from curvetune.methods.base import Method, Parts, Recipe, State, set_lr, sgd
from curvetune.methods.shared.reweight import WeightLearner, redraw_linear


class LossNet(nn.Module):
    """loss → FC `hidden` → ReLU → FC 1 → sigmoid."""

    def __init__(self, hidden: int, generator: torch.Generator) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):  # PyTorch's own initial values draw from it
            self.layers = nn.Sequential(nn.Linear(1, hidden), nn.ReLU(), nn.Linear(hidden, 1))
        redraw_linear(self.layers, generator)

    def forward(self, losses: Tensor) -> Tensor:
        """Return weights in (0, 1), (B,), of losses, (B,)."""
        return torch.sigmoid(self.layers(losses[:, None]).squeeze(1))


class MetaWeightNet:
    """The method: see the module."""

    phase: object = None  # every step does the same operations

    def __init__(self, model: nn.Module, recipe: Recipe, learner: WeightLearner) -> None:
        self.model = model
        self._recipe = recipe
        self._learner = learner
        self._optimizer = sgd(model, recipe)
        self.state = State(model=model, optimizer=self._optimizer, learner=learner.state)

    def start_epoch(self, epoch: int) -> None:
        """Set the learning rate, which is also the virtual step's."""
        set_lr(self._optimizer, self._recipe.lr_at(epoch))

    def step(self, batch: Batch, meta: Batch | None) -> dict[str, Tensor]:
        """Update the weight net on the meta batch, then the classifier on the weighted batch."""
        passed = forward(self.model, batch)
        weights, metrics = self._learner.step(passed, meta, self._optimizer)
        return {"loss": passed.losses.detach(), "weight": weights, **metrics}


def build(config: MWNetNoiseConfig, parts: Parts) -> Method:
    """Build the method from its section of the config."""
    net = LossNet(config.hidden, parts.generator).to(parts.y.device)
    learner = WeightLearner(
        net, lambda batch, losses: net(losses), config, virtual_step=config.virtual_step
    )
    return MetaWeightNet(parts.new_model(0), parts.recipe, learner)
