"""What methods share that tell the softmax how frequent each class is."""

from torch import Tensor

from curvetune.methods.cross_entropy import cross_entropy


def log_shares(counts: Tensor) -> Tensor:
    """Return log π of each class, (K,), π being its share of the samples.

    A class without samples counts as one with a single one. By the formula it would be −∞, and
    nothing would ever keep the classifier from choosing it.

    Args:
        counts: (K,), how many samples each class has.
    """
    return (counts.clamp(min=1) / counts.sum()).log()


def shifted_cross_entropy(logits: Tensor, y: Tensor, *, shift: Tensor) -> Tensor:
    """Return cross entropy of logits + shift, (B,).

    Args:
        logits: (B, K).
        y: (B,) labels.
        shift: (K,), of the logit of each class.
    """
    return cross_entropy(logits + shift, y)
