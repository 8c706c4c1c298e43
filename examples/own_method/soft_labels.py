"""A method of one's own beside all others in one grid: label smoothing. Copy this file.

    curvetune check soft_labels.py
    curvetune grid digits --plugin soft_labels.py --methods soft-labels,cross-entropy,curvenet

Source: Szegedy et al., "Rethinking the Inception Architecture for Computer Vision", CVPR 2016,
section 7.
"""

from functools import partial
from typing import Annotated, ClassVar, Literal

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from curvetune.methods import Method, Parts
from curvetune.methods.shared.objective import LossMethod
from curvetune.plugins import MethodConfig, method

__version__ = "1"  # part of its results' addresses, as is the digest of this file


class SoftLabelsConfig(MethodConfig):
    """Cross entropy on labels that give a share of their weight to all classes alike."""

    source: ClassVar[str] = "Szegedy et al., CVPR 2016, section 7"

    name: Literal["soft-labels"] = "soft-labels"
    smoothing: Annotated[float, Field(ge=0, lt=1, description="Share of all classes.")] = 0.2


def soft_losses(logits: Tensor, y: Tensor, smoothing: float) -> Tensor:
    """Return the loss of each sample, (B,), from logits (B, K) and labels (B,)."""
    return F.cross_entropy(logits, y, reduction="none", label_smoothing=smoothing)


@method(SoftLabelsConfig)
def build(config: SoftLabelsConfig, parts: Parts) -> Method:
    """Build the method from its section of the config."""
    return LossMethod(
        parts.new_model(0), parts.recipe, partial(soft_losses, smoothing=config.smoothing)
    )
