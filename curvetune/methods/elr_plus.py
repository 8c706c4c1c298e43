"""ELR+: a network is kept near what the other's averaged weights said of a sample all along.

Each sample has a target: a moving average of the probabilities that the other network's average
gives it. To the cross entropy of mixed images comes λ log(1 − ⟨p, t⟩), p being the prediction and t
the mixed targets: its gradient holds on to early predictions, which were right more often than the
wrong labels that come to be learned.

Source: Liu et al., "Early-Learning Regularization Prevents Memorization of Noisy Labels", NeurIPS
2020, section 4, as in the authors' repository shengliu66/ELR
(ELR_plus/model/loss.py, ELR_plus/trainer/trainer.py, ELR_plus/config_cifar10.json).
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from curvetune.batch import Batch
from curvetune.config import ELRPlusConfig
from curvetune.data.sets.image_set import ImageSet
from curvetune.methods.base import Method, Parts, Recipe, State, descend, set_lr, sgd
from curvetune.methods.cross_entropy import cross_entropy
from curvetune.methods.shared.average import Average
from curvetune.methods.shared.mixup import MixUp, mix
from curvetune.models import Ensemble

CLAMP = 1e-4  # of probabilities in the regularisation, so that its logarithm is finite


def ramp_up(progress: Tensor) -> Tensor:
    """Return exp(−5 (1 − t)²), at most 1, of how much of the ramp t is past."""
    return (-5 * (1 - progress.clamp(max=1)) ** 2).exp()


def moved_targets(targets: Tensor, probabilities: Tensor, momentum: float) -> Tensor:
    """Return β t + (1 − β) p, (B, K)."""
    return momentum * targets + (1 - momentum) * probabilities


def regularised_loss(logits: Tensor, labels: Tensor, targets: Tensor, weight: Tensor) -> Tensor:
    """Return the mean of −⟨y, log p⟩ + λ log(1 − ⟨t, p⟩), 0-d, of three times (B, K)."""
    probabilities = logits.softmax(dim=1).clamp(CLAMP, 1 - CLAMP)
    away = (1 - (targets * probabilities).sum(dim=1)).log()
    return F.cross_entropy(logits, labels) + weight * away.mean()


class ELRPlus:
    """The method: see the module. `model` is both networks together, not their averages.

    Args:
        steps_before_drop: of the epochs before the first drop of the learning rate.
        draws: for the second network's views and for MixUp.
    """

    phase: object = None  # every step does the same operations

    def __init__(
        self,
        networks: tuple[nn.Module, nn.Module],
        recipe: Recipe,
        config: ELRPlusConfig,
        train: ImageSet,
        num_classes: int,
        *,
        steps_before_drop: int,
        draws: torch.Generator,
    ) -> None:
        self.model: nn.Module = Ensemble(*networks)
        self._networks = networks
        self._recipe = recipe
        self._config = config
        self._train = train
        self._num_classes = num_classes
        self._ramp_steps = config.ramp_share * steps_before_drop
        self._draws = draws
        self._mixup = MixUp(config.mixup_alpha, draws)
        self._optimizers = [sgd(network, recipe) for network in networks]
        average_steps = config.average_ramp * steps_before_drop

        def decay(steps: Tensor) -> Tensor:
            after = (steps + 1) / average_steps if average_steps else torch.ones_like(steps)
            return config.average_decay * ramp_up(after)

        first, second = (Average(n, config.average_decay, decay) for n in networks)
        self._averages = (first, second)
        device = draws.device
        self._targets = torch.zeros(2, len(train), num_classes, device=device)
        self._steps = torch.zeros((), device=device)
        self.state = State(
            model=self.model,
            optimizer=self._optimizers[0],
            other_optimizer=self._optimizers[1],
            average=first.state,
            other_average=second.state,
            targets=self._targets,
            steps=self._steps,
            draws=draws,
        )

    def start_epoch(self, epoch: int) -> None:
        """Set the learning rate."""
        for optimizer in self._optimizers:
            set_lr(optimizer, self._recipe.lr_at(epoch))

    def step(self, batch: Batch, meta: Batch | None) -> dict[str, Tensor]:
        """Take a step of each network.

        The loss is that of the averages; the weight is the share of the given label in the targets.
        """
        views = batch.x, self._train.view(batch.index, self._draws)
        given = F.one_hot(batch.y, self._num_classes).to(batch.x.dtype)
        self._steps += 1
        progress = self._steps / self._ramp_steps if self._ramp_steps else torch.ones_like(given[0])
        weight = self._config.elr_weight * ramp_up(progress).max()
        total, losses = torch.zeros_like(weight), torch.zeros_like(given[:, 0])
        for k, (network, x) in enumerate(zip(self._networks, views, strict=True)):
            taught = self._taught(k, x, batch.index)
            losses = losses + cross_entropy(taught, batch.y) / 2
            mixing = self._mixup.draw(len(x))
            total = total + regularised_loss(
                network(mix(x, mixing)),
                mix(given, mixing),
                mix(self._targets[k, batch.index], mixing),
                weight,
            )
        descend(total, *self._optimizers)
        for average in self._averages:
            average.update()
        shares = (self._targets[:, batch.index] * given).sum(dim=2).mean(dim=0)
        return {"loss": losses, "weight": shares}

    @torch.no_grad()
    def _taught(self, k: int, x: Tensor, index: Tensor) -> Tensor:
        """Move the targets of network k by what the other's average says; return its logits."""
        logits: Tensor = self._averages[1 - k].model(x)
        momentum = self._config.target_momentum
        self._targets[k, index] = moved_targets(
            self._targets[k, index], logits.softmax(dim=1), momentum
        )
        return logits


def build(config: ELRPlusConfig, parts: Parts) -> Method:
    """Build the method from its section of the config."""
    steps = math.ceil(len(parts.y) / parts.recipe.batch_size_at(0))
    return ELRPlus(
        (parts.new_model(0), parts.new_model(1)),
        parts.recipe,
        config,
        parts.train,
        parts.num_classes,
        steps_before_drop=parts.first_drop * steps,
        draws=parts.draws,
    )
