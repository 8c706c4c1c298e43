"""What is known of a network, for as long as it lives."""

from typing import Generic, TypeVar

from torch import Tensor, nn
from torch.utils.weak import WeakIdKeyDictionary

T = TypeVar("T")


class Known(Generic[T]):
    """A value for each network.

    A network is told by its first parameter, its class and its number of parameters: the live
    stages of a model with frozen ones are put together anew at every step.
    """

    def __init__(self) -> None:
        self._values: WeakIdKeyDictionary = WeakIdKeyDictionary()

    def get(self, model: nn.Module) -> T | None:
        """Return the value of a network; None if there is none yet."""
        first, kind = _key(model)
        values: dict[object, T] = self._values.get(first, {})  # type: ignore[no-untyped-call]
        return values.get(kind)

    def set(self, model: nn.Module, value: T) -> None:
        """Give a network a value."""
        first, kind = _key(model)
        self._values.setdefault(first, {})[kind] = value  # type: ignore[no-untyped-call]


def _key(model: nn.Module) -> tuple[Tensor, object]:
    params = list(model.parameters())
    if not params:
        raise ValueError(f"{type(model).__name__} has no parameters, so no gradient either")
    return params[0], (type(model), len(params))
