"""Dynamic Loss: learned shares of the given label, and a learned margin for each class.

The label of a sample is w y + (1 − w) g. g is a class drawn from the classifier's softmax, w a
network of the rank of the sample's loss in its given class. Margins, a network too, are added to
the logits of each class. Both learn from a meta set after a virtual step. No clean set is needed:
at every epoch, some samples of each class are drawn, as many of each, and those of the lowest loss
are the meta set (hierarchical sampling). They end the epoch, with their given labels.

Source: Jiang et al., "Dynamic Loss for Robust Learning", TPAMI 2023 (arXiv 2211.12506), as in the
authors' repository jiangwenj02/dynamic_loss (mmcls/models/meta/dynamicmeta.py,
mmcls/core/runners/dynamic_epochbased_runner.py).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from curvetune.batch import Batch
from curvetune.config import DynamicLossConfig
from curvetune.data.sets.image_set import ImageSet
from curvetune.meta import Forward, forward
from curvetune.methods.base import Method, Parts, Recipe, State, class_counts, descend, set_lr, sgd
from curvetune.methods.cross_entropy import cross_entropy
from curvetune.methods.shared.dynamic import DynamicNet, descended, logit_gradient
from curvetune.methods.shared.optimizers import new_adam
from curvetune.methods.shared.survey import members, survey

TINY = 1e-8  # added to a probability before its logarithm, in the repository


def loss_ranks(losses: Tensor, y: Tensor, num_classes: int, ranks: int) -> Tensor:
    """Return the rank of each sample's loss in its given class, (N,) int64, 0 for the lowest.

    The k-th lowest of n losses, k from 0, has ⌊k · ranks / (n + 1)⌋.
    """
    by_loss = losses.argsort(stable=True)
    rows, mask = members(y[by_loss], num_classes)
    place = torch.arange(rows.shape[1], device=y.device)
    rank = place * ranks // (mask.sum(dim=1, keepdim=True) + 1)
    found = torch.empty_like(y)
    found[by_loss[rows[mask]]] = rank[mask]
    return found


def hierarchical_sample(
    losses: Tensor, y: Tensor, num_classes: int, drawn: int, kept: int, draws: torch.Generator
) -> Tensor:
    """Return indices: of each class that has samples, the `kept` of lowest loss among `drawn`.

    Args:
        drawn: at most the size of the rarest of these classes.
    """
    order = torch.randperm(len(y), generator=draws, device=y.device)
    rows, mask = members(y[order], num_classes)
    some = order[rows[mask[:, 0], :drawn]]
    return some.gather(1, losses[some].argsort(dim=1, stable=True)[:, :kept]).flatten()


def draw_class(logits: Tensor, draws: torch.Generator) -> Tensor:
    """Return a class drawn from each softmax, one-hot, (B, K), by Gumbel's trick."""
    noise = torch.empty_like(logits).exponential_(generator=draws).log()
    chosen = (logits.detach() - noise).argmax(dim=1)
    return F.one_hot(chosen, logits.shape[1]).to(logits.dtype)


class DynamicLoss:
    """The method: see the module.

    Args:
        sample: how many of each class are drawn, and kept; None where the loop gives meta batches.
    """

    def __init__(
        self,
        model: nn.Module,
        net: DynamicNet,
        recipe: Recipe,
        config: DynamicLossConfig,
        train: ImageSet,
        y: Tensor,
        num_classes: int,
        *,
        sample: tuple[int, int] | None,
        draws: torch.Generator,
    ) -> None:
        self.model = model
        self._net = net
        self._recipe = recipe
        self._config = config
        self._train = train
        self._y = y
        self._num_classes = num_classes
        self._sample = sample
        self._draws = draws
        self._ranks = torch.zeros_like(y)
        self._in_meta = torch.zeros_like(y, dtype=torch.bool)
        size = int((class_counts(y, num_classes) > 0).sum()) * sample[1] if sample else 1
        self._meta = torch.zeros(size, dtype=torch.int64, device=y.device)
        self._warms_up = True
        self.phase: object = None
        self._optimizer = sgd(model, recipe)
        self._net_optimizer = new_adam(net.parameters(), lr=config.dynamic_lr)
        self.state = State(
            model=model,
            optimizer=self._optimizer,
            net=net,
            net_optimizer=self._net_optimizer,
            ranks=self._ranks,
            in_meta=self._in_meta,
            meta=self._meta,
            draws=draws,
        )

    def start_epoch(self, epoch: int) -> Tensor | None:
        """Set the learning rate; rank the losses; choose the meta set, which comes last."""
        self._warms_up = epoch < self._config.warm_epochs
        self.phase = self._warms_up
        set_lr(self._optimizer, self._recipe.lr_at(epoch))
        losses = cross_entropy(survey(self.model, self._train).logits, self._y)
        config, classes = self._config, self._num_classes
        self._ranks.copy_(loss_ranks(losses, self._y, classes, config.ranks))
        if self._warms_up or self._sample is None:
            return None
        chosen = hierarchical_sample(losses, self._y, classes, *self._sample, self._draws)
        self._meta.copy_(chosen)
        self._in_meta.zero_()[chosen] = True
        order = torch.randperm(len(self._y), generator=self._draws, device=self._y.device)
        return order[self._in_meta[order].int().argsort(stable=True)]

    def step(self, batch: Batch, meta: Batch | None) -> dict[str, Tensor]:
        """Update corrector and margins, then the classifier; weight: share of the given label."""
        passed = forward(self.model, batch)
        given = F.one_hot(batch.y, self._num_classes).to(passed.logits.dtype)
        metrics = {"loss": passed.losses.detach()}
        if self._warms_up:
            self._copy_given_labels(passed)
            descend(passed.losses.mean(), self._optimizer)
            with torch.no_grad():
                shares = self._net.shares(self._ranks[batch.index], batch.y)
            return metrics | {"weight": shares}
        metrics["meta_loss"] = self._learn(
            passed, given, self._draw_meta() if self._sample else meta
        )
        with torch.no_grad():
            target, margins, shares = self._loss_parts(passed, given)
        logits = passed.logits + margins
        descend(F.cross_entropy(logits, target), self._optimizer)
        return metrics | {"weight": shares}

    def _copy_given_labels(self, passed: Forward) -> None:
        """Let the corrector learn to keep the given labels."""
        batch = passed.batch
        shares = self._net.shares(self._ranks[batch.index], batch.y)
        right = (-passed.losses.detach()).exp()
        loss = -(shares + (1 - shares) * right + TINY).log().mean()
        descend(loss, self._net_optimizer)

    def _learn(self, passed: Forward, given: Tensor, meta: Batch | None) -> Tensor:
        """Follow the meta gradient; return the meta loss, 0-d."""
        assert meta is not None
        target, margins, _ = self._loss_parts(passed, given)
        gradient = logit_gradient(passed.logits.detach(), margins, target)
        optimizer = self._optimizer if self._config.virtual_step == "optimizer" else None
        lr = self._optimizer.param_groups[0]["lr"]
        loss, meta_loss = descended(passed, gradient, meta, lr, optimizer)
        descend(loss, self._net_optimizer)
        return meta_loss

    def _loss_parts(self, passed: Forward, given: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return targets, margins, both (B, K), and the corrector's shares, (B,), of a batch.

        Samples of the meta set keep their given labels, and corrector and margins learn nothing
        from them: they have gradient to the network from the others only.
        """
        index = passed.batch.index
        shares = self._net.shares(self._ranks[index], passed.batch.y)
        fixed = self._in_meta[index][:, None]
        own = torch.where(fixed, 1.0, shares[:, None])
        target = own * given + (1 - own) * draw_class(passed.logits, self._draws)
        margins = self._net.margins()
        return target, torch.where(fixed, margins.detach(), margins), shares

    def _draw_meta(self) -> Batch:
        """Return a batch of the meta set, drawn with replacement, in views of their own."""
        size, device = self._config.meta_batch_size, self._y.device
        drawn = torch.randint(len(self._meta), (size,), generator=self._draws, device=device)
        index = self._meta[drawn]
        return Batch(self._train.view(index, self._draws), self._y[index], index)


def build(config: DynamicLossConfig, parts: Parts) -> Method:
    """Build the method from its section of the config."""
    net = DynamicNet(config.ranks, parts.num_classes, config.hidden, parts.generator)
    counts = class_counts(parts.y, parts.num_classes)
    rarest = int(counts[counts > 0].min())
    drawn = config.drawn_share * rarest
    sizes = max(1, int(drawn)), max(1, int(drawn * config.low_loss_share))
    return DynamicLoss(
        parts.new_model(0),
        net.to(parts.y.device),
        parts.recipe,
        config,
        parts.train,
        parts.y,
        parts.num_classes,
        sample=sizes if config.meta == "hierarchical" else None,
        draws=parts.draws,
    )
