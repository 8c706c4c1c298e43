"""CleanNet: the weight of a sample is its similarity to references of its given class.

At a few epochs the features of all samples are taken as they are then. CleanNet, two small encoders
whose codes are compared, learns from labels that are known to be right or wrong which similarity
is that of a right one; the similarity of each training sample is its weight until the next round.

Data such as Food-101N comes with flags of right and wrong for some training samples: these are what
it learns from, and the other samples are the unverified ones. For data without flags the clean set
stands in: its images with their labels are right, the same images with another label drawn at
random are wrong, and the training samples are the unverified ones.

Source: Lee, He, Zhang and Yang, "CleanNet: Transfer Learning for Scalable Image Classifier Training
with Label Noise", CVPR 2018; layers and losses as in the authors' repository kuanghuei/clean-net
(model.py, losses.py, train.py).
"""

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from curvetune.batch import Batch
from curvetune.config import CleanNetConfig
from curvetune.data.sets.image_set import ImageSet
from curvetune.methods.base import Method, Parts, Recipe, State, descend, set_lr, sgd
from curvetune.methods.shared.optimizers import new_sgd
from curvetune.methods.shared.survey import members, survey
from curvetune.models import last_layer
from curvetune.models.cleannet import CleanNet, unverified_loss, verified_loss

MOMENTUM, WEIGHT_DECAY = 0.9, 1e-4  # of CleanNet's own SGD (repository: train.py)


def sample_weights(similarity: Tensor, weighting: str, threshold: float) -> Tensor:
    """Return weights in [0, 1], (N,): max(0, s) if `soft`, [s ≥ threshold] if `hard`."""
    if weighting == "hard":
        return (similarity >= threshold).float()
    return similarity.clamp(0, 1)


def class_references(seen: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """Return `count` reference features of a class, (count, D), from its features, (n, D).

    They are k-means centroids; of a class with no more than `count` different features these
    themselves, in turn, and zeros of a class without samples.
    """
    different = np.unique(seen, axis=0)
    if len(different) > count:
        # Inside: it takes 1.5 s to import, which every other method would pay.
        from sklearn.cluster import KMeans

        found = KMeans(count, n_init=1, random_state=0).fit(seen).cluster_centers_
        return np.asarray(found, np.float32)
    if len(different) == 0:
        return np.zeros((count, seen.shape[1]), np.float32)
    return different[np.arange(count) % len(different)]


class Labelled(NamedTuple):
    """Features and labels of a set."""

    seen: Tensor  # (n, D)
    y: Tensor  # (n,)


class CleanNetMethod:
    """The method: see the module.

    Args:
        net: CleanNet.
        starts: epochs at which a round begins.
        verified: (N,) flags of the training samples, 1 right, 0 wrong and -1 not known; None
            without any.
    """

    phase: object = None  # every step does the same operations

    def __init__(
        self,
        model: nn.Module,
        recipe: Recipe,
        config: CleanNetConfig,
        net: CleanNet,
        *,
        train: ImageSet,
        clean: ImageSet,
        num_classes: int,
        starts: set[int],
        draws: torch.Generator,
        verified: Tensor | None = None,
    ) -> None:
        self.model = model
        self._recipe = recipe
        self._config = config
        self._net = net
        self._train = train
        self._clean = clean
        self._num_classes = num_classes
        self._starts = starts
        self._draws = draws
        self._verified_flags = verified
        self._optimizer = sgd(model, recipe)
        self._weights = torch.ones(len(train), device=next(model.parameters()).device)
        self.state = State(
            model=model, optimizer=self._optimizer, net=net, weights=self._weights, draws=draws
        )

    def start_epoch(self, epoch: int) -> None:
        """Set the learning rate; renew the weights if a round begins."""
        set_lr(self._optimizer, self._recipe.lr_at(epoch))
        if epoch in self._starts:
            self._round()

    def step(self, batch: Batch, meta: Batch | None) -> dict[str, Tensor]:
        """Take one SGD step on (1/B) Σ w CE. The clean set is for CleanNet alone."""
        weights = self._weights[batch.index]
        losses = F.cross_entropy(self.model(batch.x), batch.y, reduction="none")
        descend((weights * losses).mean(), self._optimizer)
        return {"loss": losses.detach(), "weight": weights}

    def _round(self) -> None:
        """Take the features of all samples, train CleanNet on them, weigh the samples by it."""
        train = self._labelled(self._train)
        clean = self._labelled(self._clean) if self._verified_flags is None else None
        references = self._references(train)
        self._learn(train, clean, references)
        with torch.no_grad():
            codes, _ = self._net(train.seen)
            similarity = F.cosine_similarity(codes, self._net.classes(references)[train.y])
        config = self._config
        weights = sample_weights(similarity, config.weighting, config.similarity_threshold)
        self._weights.copy_(weights)

    def _labelled(self, images: ImageSet) -> Labelled:
        return Labelled(survey(self.model, images).features.log1p(), images.y)

    def _references(self, train: Labelled) -> Tensor:
        """Return references of each class, (K, R, D)."""
        index, mask = members(train.y, self._num_classes)
        found = [
            class_references(train.seen[rows[here]].cpu().numpy(), self._config.references)
            for rows, here in zip(index, mask, strict=True)
        ]
        return torch.from_numpy(np.stack(found)).to(train.seen.device)

    def _learn(self, train: Labelled, clean: Labelled | None, references: Tensor) -> None:
        """Train CleanNet, on from where the last round left it.

        Args:
            clean: what stands in for flags; None where there are some.
        """
        config = self._config
        optimizer = new_sgd(
            self._net.parameters(),
            lr=config.cleannet_lr,
            momentum=MOMENTUM,
            weight_decay=WEIGHT_DECAY,
        )
        for step in range(config.cleannet_steps):
            if step == config.cleannet_steps // 2:
                set_lr(optimizer, config.cleannet_lr / 10)
            if clean is None:
                verified, right, unverified = self._judged(train)
            else:
                (verified, right), unverified = self._verified(clean), self._draw(train)
            descend(self._loss(verified, right, unverified, references), optimizer)

    def _loss(
        self, verified: Labelled, right: Tensor, unverified: Labelled, references: Tensor
    ) -> Tensor:
        """Return CleanNet's mean loss over both batches, 0-d.

        Args:
            right: (b,) 1 where a verified label is right, 0 where it is wrong.
        """
        config = self._config
        seen = torch.cat([verified.seen, unverified.seen])
        codes, rebuilt = self._net(seen)
        classes = self._net.classes(references)[torch.cat([verified.y, unverified.y])]
        similarity = F.cosine_similarity(codes, classes)
        known, unknown = similarity[: len(right)], similarity[len(right) :]
        supervised = verified_loss(known, right, config.negative_weight).sum()
        guessed = unverified_loss(unknown, config.negative_weight).sum()
        apart: Tensor = ((seen - rebuilt) ** 2).sum()
        total = supervised + config.unsupervised * guessed + config.reconstruction * apart
        return total / len(seen)

    def _draw(self, labelled: Labelled) -> Labelled:
        """Return some samples at random."""
        index = self._drawn(len(labelled.y), labelled.y.device)
        return Labelled(labelled.seen[index], labelled.y[index])

    def _drawn(self, size: int, device: torch.device) -> Tensor:
        """Return random whole numbers below `size`, one for each sample of a step, (b,)."""
        count = self._config.meta_batch_size
        return torch.randint(size, (count,), generator=self._draws, device=device)

    def _judged(self, train: Labelled) -> tuple[Labelled, Tensor, Labelled]:
        """Return some samples with flags, the flags, and some without, or any if all have one."""
        flags = self._verified_flags
        assert flags is not None, "it is asked only where there are flags"
        with_flag, without = ((flags >= 0).nonzero()[:, 0], (flags < 0).nonzero()[:, 0])
        known = with_flag[self._drawn(len(with_flag), flags.device)]
        others = without if len(without) else with_flag
        unknown = others[self._drawn(len(others), flags.device)]
        verified = Labelled(train.seen[known], train.y[known])
        unverified = Labelled(train.seen[unknown], train.y[unknown])
        return verified, flags[known].float(), unverified

    def _verified(self, clean: Labelled) -> tuple[Labelled, Tensor]:
        """Return some clean samples, every second with a wrong label, and 1 where it is right."""
        seen, y = self._draw(clean)
        other = torch.randint(1, self._num_classes, y.shape, generator=self._draws, device=y.device)
        right = (torch.arange(len(y), device=y.device) + 1) % 2
        wrong = (y + other) % self._num_classes
        return Labelled(seen, torch.where(right > 0, y, wrong)), right.float()


def build(config: CleanNetConfig, parts: Parts) -> Method:
    """Build the method from its section of the config."""
    assert parts.meta is not None, "the section says that CleanNet needs a clean set"
    model = parts.new_model(0)
    head = last_layer(model)
    assert isinstance(head, nn.Linear), "a fresh classifier ends in a linear layer"
    net = CleanNet(head.in_features, config.query_width, config.code_width, parts.generator)
    return CleanNetMethod(
        model,
        parts.recipe,
        config,
        net.to(parts.y.device),
        train=parts.train,
        clean=parts.meta,
        num_classes=parts.num_classes,
        starts={round(share * parts.recipe.epochs) for share in config.rounds},
        draws=parts.draws,
        verified=parts.verified,
    )
