"""MetaCleaner: learn from clean samples that are hallucinated from groups of noisy ones.

S samples of one given class are seen together: a layer on their concatenated features gives each a
confidence, and the mean of their features, weighted by it, is classified as that class. At test
time there is nothing but the classifier, which is the case S = 1.

Source: Zhang, Wang and Qiao, "MetaCleaner: Learning to Hallucinate Clean Representations for
Noisy-Labeled Visual Recognition", CVPR 2019. No code was released; S, the activation and how
groups are drawn are our choice.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from curvetune.batch import Batch
from curvetune.config import MetaCleanerConfig
from curvetune.methods.base import Method, Parts, Recipe, State, descend, set_lr, sgd
from curvetune.models import features, last_layer

SMALLEST = 1e-12  # sum of confidences; a group of none has 0 and counts nothing


class Groups(NamedTuple):
    """B samples in at most B groups of at most S; rows without a sample come last."""

    table: Tensor  # (B, S) int64, which sample is where; B where none is
    row: Tensor  # (B,) int64, the group of each sample
    slot: Tensor  # (B,) int64, its place in the group


def runs(y: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Cut sorted labels, (B,), into runs of one label and at most `size`.

    Returns:
        The number of the run of each, (B,), from 0, and its place in the run, (B,).
    """
    place = torch.arange(len(y), device=y.device)
    new_label = torch.ones_like(y, dtype=torch.bool)
    new_label[1:] = y[1:] != y[:-1]
    first = torch.where(new_label, place, 0).cummax(0).values
    slot = (place - first) % size
    return (slot == 0).cumsum(0) - 1, slot


def group(y: Tensor, size: int) -> Groups:
    """Group the samples of each label, (B,), in their order; the last of a label may be smaller."""
    order = y.argsort(stable=True)
    row, slot = runs(y[order], size)
    table = torch.full((len(y), size), len(y), device=y.device)
    table[row, slot] = order
    back = torch.empty_like(order)
    back[order] = torch.arange(len(y), device=y.device)
    return Groups(table, row[back], slot[back])


def hallucinate(seen: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
    """Return Σ α v / Σ α, (G, D), and α / Σ α, (G, S), of features (G, S, D), scores α (G, S).

    Scores are not negative, and 0 for an empty place.
    """
    shares = scores / scores.sum(dim=1, keepdim=True).clamp(min=SMALLEST)
    return (shares[:, :, None] * seen).sum(dim=1), shares


class NoisyWeighting(nn.Module):
    """Features of a group → concatenation → FC S → activation → one score for each sample."""

    def __init__(self, size: int, width: int, score: str, generator: torch.Generator) -> None:
        super().__init__()
        self._positive = torch.sigmoid if score == "sigmoid" else F.softplus
        with torch.random.fork_rng(devices=[]):  # PyTorch's own initial values draw from it
            self.layer = nn.Linear(size * width, size)
        bound = (size * width) ** -0.5  # PyTorch's default, from our own generator
        nn.init.uniform_(self.layer.weight, -bound, bound, generator=generator)
        nn.init.uniform_(self.layer.bias, -bound, bound, generator=generator)

    def forward(self, seen: Tensor) -> Tensor:
        """Return scores, (G, S), of features, (G, S, D)."""
        return self._positive(self.layer(seen.flatten(1)))


class MetaCleaner:
    """The method: see the module."""

    phase: object = None  # every step does the same operations

    def __init__(
        self,
        model: nn.Module,
        weighting: NoisyWeighting,
        recipe: Recipe,
        y: Tensor,
        size: int,
        draws: torch.Generator,
    ) -> None:
        self.model = model
        self._weighting = weighting
        self._recipe = recipe
        self._y = y
        self._size = size
        self._draws = draws
        self._optimizer = sgd(nn.ModuleList([model, weighting]), recipe)
        self.state = State(model=model, weighting=weighting, optimizer=self._optimizer, draws=draws)

    def start_epoch(self, epoch: int) -> Tensor:
        """Set the learning rate; return all samples, S of a class next to each other."""
        set_lr(self._optimizer, self._recipe.lr_at(epoch))
        return grouped_order(self._y, self._size, self._draws)

    def step(self, batch: Batch, meta: Batch | None) -> dict[str, Tensor]:
        """Take one SGD step on the mean loss of the groups in the batch."""
        seen = features(self.model, batch.x)
        head = last_layer(self.model)
        groups = group(batch.y, self._size)
        taken = groups.table < len(batch.y)
        padded = torch.cat([seen, torch.zeros_like(seen[:1])])[groups.table]
        clean, shares = hallucinate(padded, self._weighting(padded) * taken)
        label = torch.cat([batch.y, batch.y[:1]])[groups.table[:, 0]]
        losses = F.cross_entropy(head(clean), label, reduction="none")
        with torch.no_grad():  # for the record: each sample by itself, as the classifier sees it
            single = F.cross_entropy(head(seen), batch.y, reduction="none")
            weight = shares[groups.row, groups.slot] * taken.sum(dim=1)[groups.row]
        descend((losses * taken[:, 0]).sum() / taken[:, 0].sum(), self._optimizer)
        return {"loss": single, "weight": weight}


def grouped_order(y: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """Return indices of all samples, (N,): random groups of `size` of a label, in random order.

    The rest of each label is a smaller group.
    """
    order = torch.randperm(len(y), generator=generator, device=y.device)
    order = order[y[order].argsort(stable=True)]
    row, _ = runs(y[order], size)
    keys = torch.randperm(len(y), generator=generator, device=y.device)
    return order[keys[row].argsort(stable=True)]


def build(config: MetaCleanerConfig, parts: Parts) -> Method:
    """Build the method from its section of the config."""
    model = parts.new_model(0)
    head = last_layer(model)
    assert isinstance(head, nn.Linear), "a fresh classifier ends in a linear layer"
    weighting = NoisyWeighting(config.group_size, head.in_features, config.score, parts.generator)
    return MetaCleaner(
        model,
        weighting.to(parts.y.device),
        parts.recipe,
        parts.y,
        config.group_size,
        parts.draws,
    )
