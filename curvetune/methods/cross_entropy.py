"""Cross entropy on the given labels: the baseline, and the training of every probe.

Source: Jiang et al., AAAI 2022, Eq. 1; jiangwenj02/CurveNet-V1 (processor/recognition_base.py).
"""

import torch.nn.functional as F
from torch import Tensor

from curvetune.config import CrossEntropyConfig
from curvetune.methods.base import Method, Parts
from curvetune.methods.shared.objective import LossMethod


def cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    """Return −log softmax(logits)_y of each sample, (B,), from logits (B, K) and labels (B,)."""
    return F.cross_entropy(logits, y, reduction="none")


def build(config: CrossEntropyConfig, parts: Parts) -> Method:
    """Build the method from its section of the config."""
    return LossMethod(parts.new_model(0), parts.recipe, cross_entropy)
