"""Distill (IEG): a clean set weighs samples, and decides between given and guessed labels.

Each sample has a weight w_i = 1/B and a target λ_i y_i + (1 − λ_i) g_i, where g_i is the label
that the classifier guesses from two views. How the loss of a clean batch after a look-ahead step
would change with w_i and λ_i gives w*, and λ* which is 0 or 1. To the loss on these come MixUp of
clean and guessed images, and the divergence between the views. Weights averaged over the steps are
what is tested. That these two terms grow from 0 (`ramp_share`) is ours.

Source: Zhang et al., "Distilling Effective Supervision from Severe Label Noise", CVPR 2020, and
the authors' repository google-research/google-research (ieg/models/model.py,
ieg/models/custom_ops.py, ieg/options.py).
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import SGD

from curvetune.batch import Batch
from curvetune.config import DistillConfig
from curvetune.meta import Forward, forward, look_ahead, sample_logits
from curvetune.methods.base import Method, Parts, Recipe, State, descend, set_lr, sgd
from curvetune.methods.shared.average import Average

EPSILON = 1e-8  # of the mean square of the logits, as released
SMALLEST = 1e-30  # sum of weights; a batch that only harms has 0 and counts nothing


class Slopes(NamedTuple):
    """How the clean loss after the look-ahead step changes with what a sample is given."""

    weight: Tensor  # (B,) ∂/∂w_i
    share: Tensor  # (B,) ∂/∂λ_i
    loss: Tensor  # 0-d, the clean loss itself


def normalise(logits: Tensor) -> Tensor:
    """Return logits, (B, K), scaled to a mean square of 1 over all samples and classes."""
    scaled: Tensor = logits * (logits.square().mean() + EPSILON).rsqrt()
    return scaled


def guess(views: Tensor, temperature: float) -> Tensor:
    """Return labels, (B, K), guessed from the logits of several views, (V, B, K).

    The mean softmax of normalised logits, sharpened: to the power 1 / temperature.
    """
    mean = torch.stack([normalise(logits).softmax(dim=1) for logits in views]).mean(dim=0)
    sharp = mean ** (1 / temperature)
    return sharp / sharp.sum(dim=1, keepdim=True)


def blend(given: Tensor, guessed: Tensor, share: Tensor | float) -> Tensor:
    """Return λ y + (1 − λ) g, (B, K), of labels (B, K); λ is one number or one for each, (B, 1)."""
    return share * given + (1 - share) * guessed


def soft_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Return −Σ_k t_k log softmax(logits)_k of each sample, (B,), from (B, K) and (B, K)."""
    return F.cross_entropy(logits, target, reduction="none")


def clean_slopes(
    passed: Forward,
    meta: Batch,
    given: Tensor,
    guessed: Tensor,
    *,
    share: float,
    lr: float,
    optimizer: SGD,
) -> Slopes:
    """Return the slopes of the clean loss at w_i = 1/B and λ_i = `share`, one forward-mode pass.

    With the gradient d of the clean loss after the step, ż = the logits' derivative along d:
    ∂/∂w_i = −lr c ⟨softmax(z_i) − t_i, ż_i⟩ and ∂/∂λ_i = −(lr c / B) ⟨g_i − y_i, ż_i⟩, where t is
    the blended target and c the factor of the virtual step.

    Args:
        given: (B, K), one-hot.
        guessed: (B, K), held constant.
        optimizer: whose momentum and weight decay the look-ahead step has.
    """
    target = blend(given, guessed, share)
    loss = soft_cross_entropy(passed.logits, target).mean()
    slopes = torch.autograd.grad(loss, list(passed.params.values()), retain_graph=True)
    direction, factor, clean_loss = look_ahead(passed, slopes, meta, lr, optimizer)
    moved = passed.logit_tangents(direction)
    by_weight = ((passed.logits.detach().softmax(dim=1) - target) * moved).sum(dim=1)
    by_share = ((guessed - given) * moved).sum(dim=1) / len(moved)
    return Slopes(-lr * factor * by_weight, -lr * factor * by_share, clean_loss)


def distilled_weights(slope: Tensor) -> Tensor:
    """Return w*, (B,): how much each helps, in shares that sum to 1 (to 0 if none helps)."""
    helps = (-slope).clamp(min=0)
    return helps / helps.sum().clamp(min=SMALLEST)


def distilled_shares(slope: Tensor) -> Tensor:
    """Return λ*, (B,): 1 where more of the given label helps, else 0."""
    return (slope < 0).to(slope.dtype)


def mixup(
    x: Tensor, target: Tensor, beta: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Return images (B, C, H, W) and targets (B, K), each mixed with those of another sample.

    The share of its own is 1 − u^(1/β) / 2 with uniform u, which stands in for the larger part of
    Beta(β, β), as released: both have the same power law near 1.
    """
    size, device = len(x), x.device
    other = torch.randperm(size, generator=generator, device=device)
    uniform = torch.rand(size, generator=generator, device=device, dtype=x.dtype)
    own = 1 - uniform ** (1 / beta) / 2
    per_image = own[:, None, None, None]
    mixed = blend(x, x[other], per_image)
    return mixed, blend(target, target[other], own[:, None])


def divergence(first: Tensor, second: Tensor) -> Tensor:
    """Return the mean KL(softmax(first) ‖ softmax(second)), 0-d, of logits (B, K)."""
    return F.kl_div(
        second.log_softmax(dim=1), first.log_softmax(dim=1), reduction="batchmean", log_target=True
    )


def judged_loss(
    logits: Tensor, given: Tensor, guessed: Tensor, weights: Tensor, shares: Tensor, share: float
) -> Tensor:
    """Return ½ [mean CE(λ*-blend) + Σ w* CE(λ_0-blend)], 0-d, of logits and labels (B, K)."""
    chosen = soft_cross_entropy(logits, blend(given, guessed, shares[:, None]))
    weighed = weights * soft_cross_entropy(logits, blend(given, guessed, share))
    return (chosen.mean() + weighed.sum()) / 2


class Distill:
    """The method: see the module. `model` is the average of the network that is trained.

    Args:
        view: gives another augmented view, (B, C, H, W), of indexed samples.
        draws: for what is random about views and MixUp.
        ramp_epochs: in which guessed labels and consistency grow to their weights; 0 for none.
    """

    phase: object = None  # every step does the same operations

    def __init__(
        self,
        network: nn.Module,
        recipe: Recipe,
        config: DistillConfig,
        *,
        num_classes: int,
        ramp_epochs: float,
        view: Callable[[Tensor, torch.Generator], Tensor],
        draws: torch.Generator,
    ) -> None:
        self._network = network
        self._recipe = recipe
        self._config = config
        self._num_classes = num_classes
        self._ramp_epochs = ramp_epochs
        self._view = view
        self._draws = draws
        self._optimizer = sgd(network, recipe)
        self._average = Average(network, config.average_decay)
        self.model = self._average.model
        self._gain = torch.ones((), device=draws.device)
        self.state = State(
            network=network,
            optimizer=self._optimizer,
            average=self._average.state,
            gain=self._gain,
            draws=draws,
        )

    def start_epoch(self, epoch: int) -> None:
        """Set the learning rate, but for the look-ahead's, and how much guessed labels count."""
        set_lr(self._optimizer, self._recipe.lr_at(epoch))
        self._gain.fill_(min(1.0, epoch / self._ramp_epochs) if self._ramp_epochs else 1.0)

    def step(self, batch: Batch, meta: Batch | None) -> dict[str, Tensor]:
        """Judge the batch by the clean one and take the real step.

        The weight of a sample is B times that of its given label in the loss of the judged batch.
        """
        assert meta is not None
        config = self._config
        passed = forward(self._network, batch)
        other = self._view(batch.index, self._draws)
        # Only the first view moves the running statistics, as released.
        other_logits = sample_logits(self._network, passed.params, other)
        given = self._one_hot(batch)
        guessed = guess(
            torch.stack([passed.logits, other_logits]).detach(), config.guess_temperature
        )
        slopes = clean_slopes(
            passed,
            meta,
            given,
            guessed,
            share=config.given_share,
            lr=config.lookahead_lr,
            optimizer=self._optimizer,
        )
        weights, shares = distilled_weights(slopes.weight), distilled_shares(slopes.share)
        loss = judged_loss(passed.logits, given, guessed, weights, shares, config.given_share)
        loss = loss + self._mixed_loss(passed, torch.cat([batch.x, other]), guessed, meta)
        apart = divergence(passed.logits.detach(), other_logits)
        loss = loss + self._gain * config.consistency * apart
        descend(loss, self._optimizer)
        self._average.update()
        return {
            "loss": passed.losses.detach(),
            "weight": (shares + config.given_share * len(weights) * weights) / 2,
            "meta_loss": slopes.loss,
        }

    def _mixed_loss(self, passed: Forward, views: Tensor, guessed: Tensor, meta: Batch) -> Tensor:
        """Return the loss of MixUp among B clean images and both views, (2B, C, H, W), 0-d.

        Each third's logits are normalised by themselves, as released.
        """
        size = len(guessed)
        drawn = torch.randint(
            len(meta.y), (size,), generator=self._draws, device=self._draws.device
        )
        x, target = mixup(
            torch.cat([meta.x[drawn], views]),
            torch.cat([self._one_hot(meta)[drawn], guessed, guessed]),
            self._config.mixup_beta,
            self._draws,
        )
        thirds = sample_logits(self._network, passed.params, x).chunk(3)
        losses = soft_cross_entropy(torch.cat([normalise(third) for third in thirds]), target)
        guessed_weight = self._gain * self._config.guessed_weight
        return losses[:size].mean() + guessed_weight * losses[size:].mean()

    def _one_hot(self, batch: Batch) -> Tensor:
        return F.one_hot(batch.y, self._num_classes).to(batch.x.dtype)


def build(config: DistillConfig, parts: Parts) -> Method:
    """Build the method from its section of the config."""
    return Distill(
        parts.new_model(0),
        parts.recipe,
        config,
        num_classes=parts.num_classes,
        ramp_epochs=config.ramp_share * parts.first_drop,
        view=parts.train.view,
        draws=parts.draws,
    )
