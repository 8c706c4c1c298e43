"""DivideMix: two networks divide the samples for each other, and guess the labels of one part.

After a few epochs on the given labels, a mixture of two Gaussians over the losses of each network
gives every sample the probability that its label is right. For the other network, a likely label is
kept in that share and refined by what the network says of two views; an unlikely one is replaced
by what both networks say. All views are mixed with each other: MixMatch.

Source: Li, Socher and Hoi, "DivideMix: Learning with Noisy Labels as Semi-supervised Learning",
ICLR 2020, Algorithm 1, as in the authors' repository LiJunnan1992/DivideMix (Train_cifar.py).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from curvetune.batch import Batch
from curvetune.config import DivideMixConfig
from curvetune.data.sets.image_set import ImageSet
from curvetune.methods.base import Method, Parts, Recipe, State, descend, set_lr, sgd
from curvetune.methods.cross_entropy import cross_entropy
from curvetune.methods.shared.mixture import Fit, upper_component
from curvetune.methods.shared.mixup import MixUp, mix
from curvetune.methods.shared.survey import survey
from curvetune.models import Ensemble

AS_RELEASED = Fit(reg_covar=5e-4, tol=1e-2, max_iter=10)  # of the mixture
SMALLEST = 1e-12  # spread of losses, and probability of a class that is never predicted


class Looked(NamedTuple):
    """What a network makes of two views of a batch."""

    training: Tensor  # (B, K), mean probabilities with the statistics of the batch
    evaluating: Tensor  # (B, K), those with the running statistics
    losses: Tensor  # (B,), of the given labels in the first view


def divide(losses: Tensor, threshold: float, at_least: int) -> tuple[Tensor, Tensor]:
    """Return how likely each label is right, (N,), and which count as right, (N,) bool.

    Args:
        losses: (N,), of one network.
        at_least: so many of the lowest losses count as right whatever the mixture says.
    """
    spread = (losses.max() - losses.min()).clamp(min=SMALLEST)
    scaled = ((losses - losses.min()) / spread)[None]
    wrong = upper_component(scaled, torch.ones_like(scaled, dtype=torch.bool), AS_RELEASED)
    clean = (1 - wrong[0]).to(losses.dtype)
    labelled = clean > threshold
    labelled[losses.argsort(stable=True)[:at_least]] = True
    return clean, labelled


def sharpen(probabilities: Tensor, temperature: float) -> Tensor:
    """Return probabilities, (B, K), to the power 1 / temperature, rows summing to 1."""
    sharp = probabilities ** (1 / temperature)
    return sharp / sharp.sum(dim=1, keepdim=True)


def new_labels(
    given: Tensor, clean: Tensor, labelled: Tensor, own: Looked, other: Looked, temperature: float
) -> Tensor:
    """Return what a network is trained on, (B, K): refined labels, or guessed ones.

    Args:
        given: (B, K), one-hot.
        clean: (B,), how likely each is right.
        labelled: (B,) bool; the labels of the others are guessed.
    """
    share = clean[:, None]
    refined = share * given + (1 - share) * own.training
    guessed = (own.training + other.evaluating) / 2
    return sharpen(torch.where(labelled[:, None], refined, guessed), temperature)


def semi_supervised_loss(
    logits: Tensor, targets: Tensor, labelled: Tensor, guessed_weight: Tensor
) -> Tensor:
    """Return cross entropy, λ_u times a mean square, and KL(uniform ‖ mean prediction), 0-d.

    Args:
        logits: (B, K).
        targets: (B, K).
        labelled: (B,) bool; a part without samples counts nothing.
        guessed_weight: 0-d, λ_u, of the others' mean square.
    """
    probabilities = logits.softmax(dim=1)
    by_label = F.cross_entropy(logits, targets, reduction="none")
    by_guess = (probabilities - targets).square().mean(dim=1)
    prior = 1 / logits.shape[1]
    seen = probabilities.mean(dim=0).clamp(min=SMALLEST)
    penalty = (prior * (prior / seen).log()).sum()
    supervised, guessed = _mean(by_label, labelled), _mean(by_guess, ~labelled)
    return supervised + guessed_weight * guessed + penalty


def negative_entropy(logits: Tensor) -> Tensor:
    """Return the mean of Σ_k p_k log p_k, 0-d, of logits (B, K)."""
    logs = logits.log_softmax(dim=1)
    return (logs.exp() * logs).sum(dim=1).mean()


def _mean(values: Tensor, mask: Tensor) -> Tensor:
    return (values * mask).sum() / mask.sum().clamp(min=1)


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Have a network in eval mode meanwhile."""
    network.eval()
    yield
    network.train()


class DivideMix:
    """The method: see the module. `model` is both networks together.

    Args:
        divide_from: first epoch in which samples are divided.
        ramp_epochs: in which guessed labels grow to their weight; 0 for none.
        draws: for the second views and for MixUp.
    """

    def __init__(
        self,
        networks: tuple[nn.Module, nn.Module],
        recipe: Recipe,
        config: DivideMixConfig,
        train: ImageSet,
        y: Tensor,
        num_classes: int,
        *,
        divide_from: int,
        ramp_epochs: float,
        draws: torch.Generator,
    ) -> None:
        self.model: nn.Module = Ensemble(*networks)
        self._networks = networks
        self._recipe = recipe
        self._config = config
        self._train = train
        self._y = y
        self._num_classes = num_classes
        self._divide_from = divide_from
        self._ramp_epochs = ramp_epochs
        self._draws = draws
        self._mixup = MixUp(config.mixup_alpha, draws)
        self._optimizers = [sgd(network, recipe) for network in networks]
        self._clean = torch.ones(2, len(y), device=y.device)  # by each network
        self._labelled = torch.ones_like(self._clean, dtype=torch.bool)
        self._gain = torch.zeros((), device=y.device)
        self.phase: object = None
        self.state = State(
            model=self.model,
            optimizer=self._optimizers[0],
            other_optimizer=self._optimizers[1],
            clean=self._clean,
            labelled=self._labelled,
            gain=self._gain,
            draws=draws,
        )

    def start_epoch(self, epoch: int) -> None:
        """Set the learning rate and how much guessed labels count; divide the samples anew."""
        for optimizer in self._optimizers:
            set_lr(optimizer, self._recipe.lr_at(epoch))
        since = epoch - self._divide_from
        self.phase = since >= 0
        ramp = min(1.0, since / self._ramp_epochs) if self._ramp_epochs else 1.0
        self._gain.fill_(self._config.guessed_weight * max(0.0, ramp))
        if since < 0:
            return
        for k, network in enumerate(self._networks):
            losses = cross_entropy(survey(network, self._train).logits, self._y)
            at_least = self._recipe.batch_size_at(epoch)
            clean, labelled = divide(losses, self._config.clean_threshold, at_least)
            self._clean[k], self._labelled[k] = clean, labelled

    def step(self, batch: Batch, meta: Batch | None) -> dict[str, Tensor]:
        """Take a step of each network; weight: how right both find a label, 0 if it is guessed."""
        second = self._train.view(batch.index, self._draws)
        return self._divided(batch, second) if self.phase else self._warm_up(batch, second)

    def _warm_up(self, batch: Batch, second: Tensor) -> dict[str, Tensor]:
        """Train on the given labels, each network on another view."""
        logits = [n(x) for n, x in zip(self._networks, (batch.x, second), strict=True)]
        losses = [cross_entropy(z, batch.y) for z in logits]
        total = losses[0].mean() + losses[1].mean()
        if self._config.confidence_penalty:
            total = total + negative_entropy(logits[0]) + negative_entropy(logits[1])
        descend(total, *self._optimizers)
        loss = losses[0].detach()
        return {"loss": loss, "weight": torch.ones_like(loss)}

    def _divided(self, batch: Batch, second: Tensor) -> dict[str, Tensor]:
        """Train each network on mixed views, with labels made of the other's division."""
        looked = [self._look(network, batch, second) for network in self._networks]
        given = F.one_hot(batch.y, self._num_classes).to(batch.x.dtype)
        clean, labelled = self._clean[:, batch.index], self._labelled[:, batch.index]
        views = torch.cat([batch.x, second])
        total = torch.zeros_like(self._gain)
        for k, network in enumerate(self._networks):
            other = 1 - k
            targets = new_labels(
                given,
                clean[other],
                labelled[other],
                looked[k],
                looked[other],
                self._config.guess_temperature,
            ).repeat(2, 1)
            mixing = self._mixup.draw(len(views))
            total = total + semi_supervised_loss(
                network(mix(views, mixing)),
                mix(targets, mixing),
                labelled[other].repeat(2),
                self._gain,
            )
        descend(total, *self._optimizers)
        return {
            "loss": looked[0].losses,
            "weight": (clean * labelled).mean(dim=0),
            "labelled": labelled.to(clean.dtype).mean(),
        }

    @torch.no_grad()
    def _look(self, network: nn.Module, batch: Batch, second: Tensor) -> Looked:
        """Return what a network says of both views; each moves its running statistics."""
        with evaluating(network):
            late = network(torch.cat([batch.x, second])).softmax(dim=1)
        logits = network(batch.x)
        early = logits.softmax(dim=1) + network(second).softmax(dim=1)
        losses = cross_entropy(logits, batch.y)
        return Looked(early / 2, torch.stack(late.chunk(2)).mean(dim=0), losses)


def build(config: DivideMixConfig, parts: Parts) -> Method:
    """Build the method from its section of the config."""
    return DivideMix(
        (parts.new_model(0), parts.new_model(1)),
        parts.recipe,
        config,
        parts.train,
        parts.y,
        parts.num_classes,
        divide_from=max(1, round(config.divide_start * parts.first_drop)),
        ramp_epochs=config.ramp_share * parts.first_drop,
        draws=parts.draws,
    )
