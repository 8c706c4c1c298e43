"""What a probe keeps of every sample at each epoch: its loss, and its margin.

The margin is the given label's logit less the largest other: Pleiss et al., "Identifying Mislabeled
Data using the Area Under the Margin Ranking", NeurIPS 2020, Eq. 1. Both are made once an epoch from
the logits that the steps left, since in a step their small operations would take longer. Logits
of a streamed set, (N, K), may be more than fits, so there each step leaves (B,) of them.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from curvetune.training.fit import Samples

LARGEST = torch.finfo(torch.float16).max


@dataclass(frozen=True)
class Recording:
    """Makes of the values per sample of an epoch what is kept of it.

    Args:
        y: (N,) given labels.
        with_exact_loss: `exact_loss` is kept; else the loss that was trained on, a float32.
    """

    y: Tensor
    with_exact_loss: bool

    def __call__(self, samples: Samples) -> Samples:
        """Return `loss`, (N,) float32, and `margin`, (N,) float16, from `loss` and `logits`."""
        if "logits" in samples:
            samples = condensed(samples, self.y)
        # not in `condensed`: on a CPU the last bit of softplus depends on the place in the tensor
        loss = F.softplus(samples["log_odds"]) if self.with_exact_loss else samples["loss"]
        return {"loss": loss, "margin": samples["margin"]}


def condensed(samples: Samples, y: Tensor) -> Samples:
    """Return `samples` with (n,) `log_odds` and `margin` in place of their logits, (n, K).

    Of any n samples they are the same bits.

    Args:
        y: given labels, (n,).
    """
    rest = {name: values for name, values in samples.items() if name != "logits"}
    margin = signed_margin(samples["logits"], y).clamp(-LARGEST, LARGEST)
    return rest | {"log_odds": log_odds(*split(samples["logits"], y)), "margin": margin.half()}


def split(logits: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return the logits of the given labels, (N,), and all, (N, K), with −∞ in their place."""
    label = y[:, None]
    return logits.gather(1, label).squeeze(1), logits.scatter(1, label, -torch.inf)


def exact_loss(given: Tensor, others: Tensor) -> Tensor:
    """Return the cross entropy of each sample, (N,), also where it is nearly zero.

    It is softplus(logsumexp of the other logits − the given one). −log softmax subtracts the given
    logit from a logarithm of a sum that holds it: in float32 nothing is left of the others above a
    margin of 24 ln 2 = 16.6.

    Args:
        given: (N,), and `others`, (N, K), as `split` returns them.
    """
    return F.softplus(log_odds(given, others))


def log_odds(given: Tensor, others: Tensor) -> Tensor:
    """Return the logarithm of the odds against the given label, (N,), of what `split` returns."""
    best = others.amax(dim=1)
    rest = (others - best[:, None]).exp().sum(dim=1).log()  # 0 where there is just one other
    return rest - (given - best)


def signed_margin(logits: Tensor, y: Tensor) -> Tensor:
    """Return the margin of each sample, (N,); its sign bit says that the prediction is not `y`.

    Of equal logits `argmax` predicts one. If that is not the given label, the margin is −0. The
    sign bit outlives rounding, also to zero, so whether a prediction was right needs no file more.
    """
    given, others = split(logits, y)
    margin = (given - others.amax(dim=1)).abs()
    return torch.where(logits.argmax(dim=1) == y, margin, -margin)
