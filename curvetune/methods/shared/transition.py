"""How a true label becomes the given one: a matrix T, T_kj = P(given j | true k); rows sum to 1.

What the methods share that estimate such a matrix with a pretrained classifier. `columns` are T's
columns of some given labels: (B, K), entry k of sample i is T_k,y_i.
"""

import math

import torch
from torch import Tensor, nn

from curvetune.data.sets.image_set import ImageSet
from curvetune.data.sets.reading import reading

EVALUATION_BATCH = 1000
FLOOR = 1e-8  # least probability of a given label, as in LCCN's repository
TINY = 1e-30  # has a logarithm in float32, and is nothing beside FLOOR


def predict(model: nn.Module, data: ImageSet) -> Tensor:
    """Return softmax outputs, (N, K), of images as they are, in eval mode and in order."""
    was_training = model.training
    model.eval()
    with torch.no_grad(), reading(data.ordered(EVALUATION_BATCH)) as batches:
        probabilities = torch.cat([model(batch.x).softmax(dim=1) for batch in batches])
    model.train(was_training)
    return probabilities


def one_hot(classes: Tensor, num_classes: int) -> Tensor:
    """Return (n, K) float32 of classes, (n,)."""
    return torch.nn.functional.one_hot(classes, num_classes).float()


def transition(true: Tensor, given: Tensor) -> Tensor:
    """Return T, (K, K), from what each sample is and what it is called, shares of both (n, K).

    Row k is the mean of `given` over the samples, weighted with how much each is k. A class that
    nothing is keeps its labels: that of identity. (A network that was trained on rare classes may
    never predict one; the released codes divide by 0 there.)
    """
    sums = true.double().T @ given.double()
    mass = sums.sum(dim=1, keepdim=True)
    identity = torch.eye(len(sums), dtype=sums.dtype, device=sums.device)
    return torch.where(mass > 0, sums / mass.clamp(min=TINY), identity).float()


def first_estimate(probabilities: Tensor, y: Tensor, confusion: str) -> Tensor:
    """Return T, (K, K), of outputs (N, K) of a pretrained classifier and given labels (N,).

    Args:
        confusion: `hard` counts the predicted class alone, `soft` all by their probability.
    """
    num_classes = probabilities.shape[1]
    hard = one_hot(probabilities.argmax(dim=1), num_classes)
    true = hard if confusion == "hard" else probabilities
    return transition(true, one_hot(y, num_classes))


def log_joint(logits: Tensor, columns: Tensor) -> Tensor:
    """Return log P(true k, given y | x) of each sample and class, (B, K)."""
    return logits.log_softmax(dim=1) + columns.clamp(min=TINY).log()


def given_loss(joint: Tensor) -> Tensor:
    """Return −log P(given y | x), (B,), of what `log_joint` returned.

    From a probability of 1e-8 on, it is constant and has no gradient.
    """
    return -joint.logsumexp(dim=1).clamp(min=math.log(FLOOR))


def trust(joint: Tensor, y: Tensor) -> Tensor:
    """Return P(true y | given y, x), (B,): how likely each given label is right."""
    return joint.detach().softmax(dim=1).gather(1, y[:, None]).squeeze(1)
