"""The gradient of the meta loss with respect to the sample weights."""

from curvetune.meta.forward import Forward, forward, sample_logits
from curvetune.meta.gradient import look_ahead, meta_gradient, weight_gradient

__all__ = [
    "Forward",
    "forward",
    "look_ahead",
    "meta_gradient",
    "sample_logits",
    "weight_gradient",
]
