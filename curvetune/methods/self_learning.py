"""Self-learning with multi-prototypes (SMP): a second label for every sample, from prototypes.

Before each epoch, some samples of every class are compared with each other. Those in dense places
that are not close to a denser one are the prototypes of the class; a sample's corrected label is
the class whose prototypes are the most similar to it. The loss mixes both labels.

Source: Han, Luo and Wang, "Deep Self-Learning From Noisy Labels", ICCV 2019, Eq. 1 to 7.
No code was released; docs/methods.md says what is ours.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from curvetune.batch import Batch
from curvetune.config import SelfLearningConfig
from curvetune.data.sets.image_set import ImageSet
from curvetune.methods.base import Method, Parts, Recipe, State, descend, set_lr, sgd
from curvetune.methods.shared.survey import members, survey

NEVER = -2.0  # the similarity to a class without samples: less than any cosine


def densities(similarity: Tensor, rank: float) -> Tensor:
    """Return Σ_j sign(S_ij − S_c), (n,), S_c being the value at the top `rank` of S, (n, n)."""
    values = similarity.flatten().sort(descending=True).values
    return torch.sign(similarity - values[int(rank * len(values))]).sum(dim=1)


def closeness_to_denser(similarity: Tensor, density: Tensor) -> Tensor:
    """Return the largest similarity to a denser sample, (n,); the densest's is its least at all.

    Args:
        similarity: (n, n).
        density: (n,).
    """
    denser = density[None, :] > density[:, None]
    closest = torch.where(denser, similarity, -torch.inf).max(dim=1).values
    return torch.where(denser.any(dim=1), closest, similarity.min(dim=1).values)


def choose_prototypes(directions: Tensor, count: int, rank: float, below: float) -> Tensor:
    """Return positions of at most `count` prototypes of unit features, (n, D).

    They are the densest of the distinct samples. Where these are too few, the densest others fill
    up: in a tight class, those few are its centre and samples that do not belong to it.
    """
    similarity = directions @ directions.T
    density = densities(similarity, rank)
    distinct = closeness_to_denser(similarity, density) < below
    order = density.argsort(descending=True, stable=True)
    return torch.cat([order[distinct[order]], order[~distinct[order]]])[:count]


def mean_cosines(directions: Tensor, centres: Tensor) -> Tensor:
    """Return each sample's mean cosine to the prototypes of each class, (n, K).

    The mean of cosines is the cosine's numerator with the mean of unit prototypes.

    Args:
        directions: (n, D), of length 1.
        centres: (K, D), mean of each class's prototypes; NaN for a class without.
    """
    return (directions @ centres.T).nan_to_num(nan=NEVER)


class SelfLearning:
    """The method: see the module.

    Args:
        y: (N,) given labels.
        start: first epoch with corrected labels.
    """

    def __init__(
        self,
        model: nn.Module,
        recipe: Recipe,
        config: SelfLearningConfig,
        train: ImageSet,
        y: Tensor,
        num_classes: int,
        start: int,
        draws: torch.Generator,
    ) -> None:
        self.model = model
        self._recipe = recipe
        self._config = config
        self._train = train
        self._y = y
        self._num_classes = num_classes
        self._start = start
        self._draws = draws
        self._corrected = y.clone()
        self._share = 0.0  # of the corrected label
        self.phase: object = None
        self._optimizer = sgd(model, recipe)
        self.state = State(
            model=model, optimizer=self._optimizer, corrected=self._corrected, draws=draws
        )

    def start_epoch(self, epoch: int) -> None:
        """Set the learning rate; correct the labels."""
        set_lr(self._optimizer, self._recipe.lr_at(epoch))
        self._share = self._config.corrected_share if epoch >= self._start else 0.0
        self.phase = self._share
        if self._share:
            directions = F.normalize(survey(self.model, self._train).features)
            self._corrected.copy_(mean_cosines(directions, self._centres(directions)).argmax(dim=1))

    def step(self, batch: Batch, meta: Batch | None) -> dict[str, Tensor]:
        """Take one SGD step on (1 − α) CE(given) + α CE(corrected)."""
        corrected = self._corrected[batch.index]
        logits = self.model(batch.x)
        losses = (1 - self._share) * F.cross_entropy(logits, batch.y, reduction="none")
        losses = losses + self._share * F.cross_entropy(logits, corrected, reduction="none")
        descend(losses.mean(), self._optimizer)
        weight = 1 - self._share * (corrected != batch.y).float()  # share of the given label
        return {"loss": losses.detach(), "weight": weight}

    def _centres(self, directions: Tensor) -> Tensor:
        """Return the mean of each class's prototypes among unit features (N, D): (K, D)."""
        config = self._config
        order = torch.randperm(len(self._y), generator=self._draws, device=self._y.device)
        index, mask = members(self._y[order], self._num_classes)
        centres = []
        for rows, here in zip(index, mask, strict=True):
            drawn = directions[order[rows[here]][: config.drawn_per_class]]
            if len(drawn):
                chosen = choose_prototypes(
                    drawn, config.prototypes, config.density_rank, config.distinct_below
                )
                drawn = drawn[chosen]
            centres.append(drawn.mean(dim=0))  # NaN for a class without samples
        return torch.stack(centres)


def build(config: SelfLearningConfig, parts: Parts) -> Method:
    """Build the method from its section of the config."""
    return SelfLearning(
        parts.new_model(0),
        parts.recipe,
        config,
        parts.train,
        parts.y,
        parts.num_classes,
        round(config.correct_start * parts.first_drop),
        parts.draws,
    )
