"""What a network draws at random in a pass, such as dropout's masks, kept for a second pass.

The meta gradient is a derivative of the losses of one pass, so whatever runs the network again
must see the same masks. The numbers that were drawn are kept, not the state of the generator: that
works in a CUDA graph as well, and a second pass draws nothing.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from curvetune.errors import DerivativeError

Operation = Callable[..., Any]  # torch._ops.OpOverload


@dataclass(frozen=True)
class Draw:
    """What one operation drew.

    Args:
        written: copies of the arguments that it wrote to, in order.
        results: copies of what it returned; a number is the place among `written` of an argument.
    """

    operation: Operation
    written: Sequence[Tensor]
    results: Sequence[object]
    is_tuple: bool

    def again(self, arguments: Sequence[Tensor]) -> object:
        """Write to these arguments, and return, what was drawn."""
        for argument, value in zip(arguments, self.written, strict=True):
            argument.copy_(value)
        results = tuple(arguments[r] if isinstance(r, int) else _copy(r) for r in self.results)
        return results if self.is_tuple else results[0]


class Recording(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Keeps what is drawn inside of it."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.draws: list[Draw] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Run an operation, and keep its result if it draws."""
        result = func(*args, **(kwargs or {}))
        if torch.Tag.nondeterministic_seeded in func.tags:
            self.draws.append(_drawn(func, _written(func, args, kwargs or {}), result))
        return result


class Replaying(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Gives what was drawn before to the operations that draw inside of it."""

    def __init__(self, draws: Sequence[Draw]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._left = iter(draws)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Run an operation, or return again what it drew."""
        if torch.Tag.nondeterministic_seeded not in func.tags:
            return func(*args, **(kwargs or {}))
        draw = next(self._left, None)
        if draw is None or draw.operation is not func:
            raise DerivativeError(
                f"the network draws with {func} in its second pass and did not in its first. A "
                "second pass must do the operations of the first. Let the network draw the same "
                "way in every pass, or choose a method without a meta gradient"
            )
        return draw.again(_written(func, args, kwargs or {}))


def has_dropout(model: nn.Module) -> bool:
    """Say whether a network has layers that may draw even if one pass did not: their p changes."""
    return any(isinstance(m, nn.modules.dropout._DropoutNd) for m in model.modules())


def _drawn(operation: Operation, arguments: Sequence[Tensor], result: object) -> Draw:
    results = result if isinstance(result, tuple) else (result,)
    places = {id(argument): k for k, argument in enumerate(arguments)}
    return Draw(
        operation,
        [argument.clone() for argument in arguments],
        [places.get(id(r), _copy(r)) for r in results],
        isinstance(result, tuple),
    )


def _written(operation: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> list[Tensor]:
    """Return the arguments that an operation writes to."""
    found = []
    for k, argument in enumerate(operation._schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            found.append(args[k] if k < len(args) else kwargs[argument.name])
    return found


def _copy(value: object) -> object:
    return value.clone() if isinstance(value, Tensor) else value
