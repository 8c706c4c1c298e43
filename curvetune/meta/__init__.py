"""The gradient of the meta loss with respect to the sample weights."""

from curvetune.meta.forward import Forward, forward
from curvetune.meta.gradient import meta_gradient, weight_gradient

__all__ = ["Forward", "forward", "meta_gradient", "weight_gradient"]
