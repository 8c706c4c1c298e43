"""MentorNet: weigh a sample by how its loss compares with a percentile of recent losses.

The threshold λ is a moving average over steps of a percentile of the batch's losses. Every weight
is 1 in the burn-in. After it,

    PD  v = [ℓ ≤ λ], and towards the end v = 1 − (ℓ − λ)/γ, within 0 and 1;
    DD  v = Mentor(ℓ, ℓ − λ), a network trained at the end of the burn-in, and not again.

Some weights are then set to 0 at random ("example dropout"). The classifier follows
(1/B) Σ v_i ℓ_i plus the weight decay times the mean of v.

Source: Jiang et al., "MentorNet: Learning Data-Driven Curriculum for Very Deep Neural Networks on
Corrupted Labels", ICML 2018; PD's schedule, dropout and decay as in the authors' repository
google/mentornet (code/utils.py).
"""

import torch
from torch import Tensor, nn

from curvetune.batch import Batch
from curvetune.config import MentorNetConfig
from curvetune.methods.base import Method, Parts, Recipe, State, descend, set_lr, sgd
from curvetune.methods.cross_entropy import cross_entropy
from curvetune.methods.shared.mentor import PERCENTAGES, Mentor, lessons, teach


def percentile(losses: Tensor, share: float) -> Tensor:
    """Return the loss, 0-d, at rank share·(B − 1), rounded, of losses, (B,) sorted."""
    return losses.sort().values[round(share * (len(losses) - 1))]


def self_paced(excess: Tensor) -> Tensor:
    """Return v = [ℓ − λ ≤ 0], (B,), from ℓ − λ, (B,)."""
    return (excess <= 0).float()


def linear(excess: Tensor, width: float) -> Tensor:
    """Return v = 1 − (ℓ − λ)/γ within 0 and 1, (B,), from ℓ − λ, (B,)."""
    return (1 - excess / width).clamp(0, 1)


def dropped_out(weights: Tensor, rate: float, draws: torch.Generator) -> Tensor:
    """Return weights, (B,), with all but int((1 − rate)·B) of them, at least 1, set to 0."""
    count = max(1, int((1 - rate) * len(weights)))
    order = torch.rand(weights.shape, generator=draws, device=weights.device)
    left = order.topk(count, sorted=False).indices
    return weights * torch.zeros_like(weights).index_fill(0, left, 1.0)


def half_square(model: nn.Module) -> Tensor:
    """Return ½ Σ w² over all parameters, 0-d, whose gradient is that of weight decay."""
    return torch.stack([values.square().sum() for values in model.parameters()]).sum() / 2


class MentorNet:
    """The method: see the module.

    Args:
        mentor: of DD; None for PD.
    """

    def __init__(self, parts: Parts, config: MentorNetConfig, mentor: Mentor | None) -> None:
        self.model = parts.new_model(0)
        self._parts = parts
        self._recipe: Recipe = parts.recipe
        self._config = config
        self._mentor = mentor
        self._starts = round(config.burn_in * parts.recipe.epochs)
        self._linear_from = round(config.linear_start * parts.recipe.epochs)
        self._percentage = min(int(PERCENTAGES * config.burn_in), PERCENTAGES - 1)
        self._epoch = 0
        self.phase: object = None
        self._optimizer = sgd(self.model, parts.recipe)
        for group in self._optimizer.param_groups:
            group["weight_decay"] = 0.0  # it is in the loss, times the mean of v
        self._threshold = torch.zeros((), device=parts.y.device)
        self.state = State(
            model=self.model,
            optimizer=self._optimizer,
            threshold=self._threshold,
            draws=parts.draws,
        )
        if mentor is not None:
            self.state = State(student=self.state, mentor=mentor)

    def start_epoch(self, epoch: int) -> None:
        """Set the learning rate; train the mentor, if there is one, at the end of the burn-in."""
        self._epoch = epoch
        self.phase = (epoch >= self._starts, epoch >= self._linear_from)
        set_lr(self._optimizer, self._recipe.lr_at(epoch))
        if self._mentor is not None and epoch == self._starts:
            self._teach(self._mentor)

    def step(self, batch: Batch, meta: Batch | None) -> dict[str, Tensor]:
        """Update the threshold, weigh the batch and take one step; weight: before the dropout."""
        config = self._config
        losses = cross_entropy(self.model(batch.x), batch.y)
        seen = losses.detach()
        with torch.no_grad():
            self._threshold.lerp_(
                percentile(seen, config.loss_percentile), 1 - config.percentile_decay
            )
            weights = self._weights(seen)
        early = self._epoch < self._starts
        dropout = config.burn_in_dropout if early else config.example_dropout
        used = dropped_out(weights, dropout, self._parts.draws)
        decay = self._recipe.weight_decay * used.mean() * half_square(self.model)
        descend((used * losses).mean() + decay, self._optimizer)
        return {"loss": seen, "weight": weights, "threshold": self._threshold.clone()}

    def _weights(self, losses: Tensor) -> Tensor:
        """Return v of losses, (B,)."""
        excess = losses - self._threshold
        if self._epoch < self._starts:
            return torch.ones_like(losses)
        if self._mentor is not None:
            logits: Tensor = self._mentor(losses, excess, self._percentage)
            return torch.sigmoid(logits)
        if self._epoch < self._linear_from:
            return self_paced(excess)
        return linear(excess, self._config.linear_width)

    def _teach(self, mentor: Mentor) -> None:
        parts, config = self._parts, self._config
        assert parts.meta is not None, "the section says that dd needs the clean set"
        losses, right = lessons(
            self.model,
            parts.meta,
            batch_size=self._recipe.batch_size_at(self._epoch),
            noise=config.mentor_noise,
            num_classes=parts.num_classes,
            draws=parts.draws,
        )
        teach(
            mentor,
            losses,
            right,
            self._threshold,
            self._percentage,
            steps=config.mentor_steps,
            lr=config.mentor_lr,
            draws=parts.draws,
        )


def build(config: MentorNetConfig, parts: Parts) -> Method:
    """Build the method from its section of the config."""
    mentor = None
    if config.kind == "dd":
        mentor = Mentor(parts.generator).to(parts.y.device)
    return MentorNet(parts, config, mentor)
