"""LCCN: sample the true label of every sample, train on it, and count how labels are corrupted.

z ~ q(z | x) T_zy is drawn for each sample of a batch, the classifier takes a step on cross entropy
with z, and the sample's count moves from its last z to the new one. T is (counts + α) / row sums,
read anew now and then. A batch of B samples moves at most B of N counts, so T cannot run away as
one that is learned by back-propagation can: that is the safeguard.

Source: Yao et al., "Safeguarded Dynamic Label Regression for Noisy Supervision", AAAI 2019, as in
the authors' repository Sunarker/Safeguarded-Dynamic-Label-Regression-for-Noisy-Supervision
(cifar10_train_varC.py).
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from curvetune.batch import Batch
from curvetune.config import LCCNConfig
from curvetune.methods.base import Method, Parts, Recipe, State, descend, set_lr, sgd
from curvetune.methods.shared.transition import first_estimate, log_joint, predict, trust

SHORTEST = 1e-9  # of a waiting time; PyTorch's generator may return 0, whose log is infinite


def draw_classes(joint: Tensor, generator: torch.Generator) -> Tensor:
    """Return one class for each sample, (B,), drawn in proportion to exp(joint), (B, K).

    A race of exponential waiting times. torch.multinomial would wait for the device to check
    its argument.
    """
    times = torch.empty_like(joint).exponential_(generator=generator)
    return (joint - times.clamp(min=SHORTEST).log()).argmax(dim=1)


class Counts:
    """How many samples of each drawn class carry each label, and the matrix that follows.

    Args:
        z: (N,) first guess of the true labels; changed in place by `move`.
        y: (N,) given labels.
        first: (K, K), T until `refresh` is called.
        prior: α, added to every count.
        every: steps from one refresh to the next.
    """

    def __init__(self, z: Tensor, y: Tensor, first: Tensor, *, prior: float, every: int) -> None:
        size = len(first)
        self.z = z
        self.table = torch.bincount(z * size + y, minlength=size**2).view(size, size)
        self.matrix = first.clone()
        self._prior = prior
        self._every = every
        self._steps = torch.zeros((), dtype=torch.int64, device=z.device)
        self.state = State(z=z, table=self.table, matrix=self.matrix, steps=self._steps)

    def refresh(self) -> None:
        """Read T from the counts, at the first call and each `every` calls later."""
        counted = self.table.float() + self._prior
        counted = counted / counted.sum(dim=1, keepdim=True)
        due = self._steps % self._every == 0  # on the device: nothing waits for it
        self.matrix.copy_(torch.where(due, counted, self.matrix))
        self._steps += 1

    def move(self, index: Tensor, y: Tensor, z: Tensor) -> None:
        """Give the samples of `index`, (B,), with labels y the classes z instead of their old."""
        flat, size = self.table.view(-1), len(self.table)
        one = torch.ones_like(z)
        flat.index_add_(0, self.z[index] * size + y, -one)
        flat.index_add_(0, z * size + y, one)
        self.z[index] = z


class LCCN:
    """The method: see the module.

    Args:
        live_from: first epoch whose T follows the counts; they are kept from the start.
    """

    def __init__(
        self,
        model: nn.Module,
        counts: Counts,
        recipe: Recipe,
        draws: torch.Generator,
        live_from: int,
    ) -> None:
        self.model = model
        self._counts = counts
        self._recipe = recipe
        self._draws = draws
        self._live_from = live_from
        self._live = False
        self.phase: object = None
        self._optimizer = sgd(model, recipe)
        self.state = State(model=model, optimizer=self._optimizer, counts=counts.state, draws=draws)

    def start_epoch(self, epoch: int) -> None:
        """Set the learning rate, and whether T follows the counts."""
        set_lr(self._optimizer, self._recipe.lr_at(epoch))
        self._live = epoch >= self._live_from
        self.phase = self._live

    def step(self, batch: Batch, meta: Batch | None) -> dict[str, Tensor]:
        """Draw labels, step on them, move the counts; weight: P(the given label is right)."""
        if self._live:
            self._counts.refresh()
        logits = self.model(batch.x)
        joint = log_joint(logits.detach(), self._counts.matrix.T[batch.y])
        z = draw_classes(joint, self._draws)
        losses = F.cross_entropy(logits, z, reduction="none")
        descend(losses.mean(), self._optimizer)
        self._counts.move(batch.index, batch.y, z)
        return {"loss": losses.detach(), "weight": trust(joint, batch.y)}


def build(config: LCCNConfig, parts: Parts) -> Method:
    """Build the method from its section of the config."""
    assert parts.pretrained is not None, "the section says that it needs a probe"
    pretrained = parts.pretrained()
    probabilities = predict(pretrained, parts.train)
    steps = math.ceil(len(parts.y) / parts.recipe.batch_size_at(0))
    counts = Counts(
        probabilities.argmax(dim=1),
        parts.y,
        first_estimate(probabilities, parts.y, config.confusion),
        prior=config.prior_count,
        every=max(1, round(config.refresh_epochs * steps)),
    )
    return LCCN(
        pretrained if config.start_from == "pretrained" else parts.new_model(0),
        counts,
        parts.recipe,
        parts.draws,
        round(config.fixed_share * parts.recipe.epochs),
    )
