"""Jacobian-vector products for networks that forward-mode differentiation cannot do.

The gradient g(v) = Jᵀ v is linear in v, so J d is the gradient of ⟨g(v), d⟩ with respect to v. It
needs a backward pass that can itself be differentiated, and takes about twice the time and memory
of forward mode (docs/measurements.md).
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

Function = Callable[[Mapping[str, Tensor]], Tensor]  # of the parameters


def jacobian_product(
    function: Function, params: Mapping[str, Tensor], direction: Sequence[Tensor]
) -> Tensor:
    """Return J d, of the shape of what `function` returns, where J is its Jacobian at `params`.

    Args:
        direction: d, one tensor for each of `params`, of its shape.

    Raises:
        RuntimeError: an operation has no backward pass, or none that can be differentiated.
    """
    with torch.enable_grad():
        leaves = {name: param.detach().requires_grad_() for name, param in params.items()}
        value = function(leaves)
        along = torch.zeros_like(value, requires_grad=True)
        slopes = torch.autograd.grad(
            value, list(leaves.values()), along, create_graph=True, materialize_grads=True
        )
        moving = [(s, d) for s, d in zip(slopes, direction, strict=True) if s.requires_grad]
        (product,) = torch.autograd.grad(
            [slope for slope, _ in moving], along, [d for _, d in moving], materialize_grads=True
        )
    return product
