"""Which operation of a network forward mode does not see."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

_REFUSED = re.compile(r"forward AD with (\S+)")  # of PyTorch's NotImplementedError

_OF_DUALS = ("_make_dual", "_unpack_dual")  # which take tangents off by their purpose


def named_in(error: Exception) -> str | None:
    """Return the operation that an error of PyTorch's forward mode names, if it does."""
    found = _REFUSED.search(str(error))
    return found[1] if found else None


class Losing(TorchFunctionMode):
    """Looks for the first operation that moves by its backward pass, and loses its tangent."""

    def __init__(self) -> None:
        super().__init__()
        self.operation: str | None = None

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Run an operation, and keep its name if it is the one."""
        kwargs = kwargs or {}
        is_new = self.operation is None and _name(func) not in _OF_DUALS
        moves = is_new and any(_has_tangent(x) for x in tree_leaves((args, kwargs)))
        copies = tree_map(_leaf, (args, kwargs)) if moves else None
        result = func(*args, **kwargs)
        floats = [x for x in tree_leaves(result) if _is_float(x)]
        is_lost = bool(floats) and not any(_has_tangent(x) for x in floats)
        if copies and is_lost and _has_gradient(func, *copies):
            self.operation = _name(func)
        return result


def without_jvp(losses: Tensor) -> str | None:
    """Return the `torch.autograd.Function` of a graph that has no forward mode, if there is one."""
    for node in _nodes(losses.grad_fn):
        function = getattr(type(node), "_forward_cls", None)
        if function is not None and function.jvp is torch.autograd.Function.jvp:
            return str(function.__qualname__)
    return None


def _nodes(start: Any) -> Iterator[Any]:
    """Yield all nodes of a graph, the last operation first."""
    left, seen = [start], set()
    while left:
        node = left.pop()
        if node is not None and node not in seen:
            seen.add(node)
            left += [parent for parent, _ in node.next_functions]
            yield node


def _is_float(value: object) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()


def _has_tangent(value: object) -> bool:
    if not _is_float(value):
        return False
    return forward_ad.unpack_dual(value).tangent is not None  # type: ignore[no-untyped-call]


def _leaf(value: Any) -> Any:
    """Return a copy of a tensor of numbers that a backward pass can reach; all else as it is."""
    if not _is_float(value):
        return value
    primal = forward_ad.unpack_dual(value).primal  # type: ignore[no-untyped-call]
    with torch.enable_grad():
        return primal.detach().clone().requires_grad_().clone()  # which may be written to


def _has_gradient(func: Callable[..., Any], args: Any, kwargs: Any) -> bool:
    """Say whether what an operation returns has a backward pass."""
    with torch.enable_grad():
        try:
            result = func(*args, **kwargs)
        except RuntimeError:  # it does not take such arguments, so it is not the one
            return False
    return any(_is_float(x) and x.requires_grad for x in tree_leaves(result))


def _name(func: Any) -> str:
    """Return a name that a reader knows: `torchvision.deform_conv2d`, `conv2d`."""
    if isinstance(func, torch._ops.OpOverload | torch._ops.OpOverloadPacket):
        return str(func).removesuffix(".default")
    return str(getattr(func, "__name__", func))
