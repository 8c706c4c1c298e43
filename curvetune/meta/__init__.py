"""The gradient of the meta loss with respect to the sample weights."""

from curvetune.meta.check import Verdict, check_forward_mode
from curvetune.meta.forward import Forward, forward, sample_logits
from curvetune.meta.gradient import (
    look_ahead,
    meta_gradient,
    through_step,
    weight_gradient,
    weighted_slopes,
)

__all__ = [
    "Forward",
    "Verdict",
    "check_forward_mode",
    "forward",
    "look_ahead",
    "meta_gradient",
    "sample_logits",
    "through_step",
    "weight_gradient",
    "weighted_slopes",
]
