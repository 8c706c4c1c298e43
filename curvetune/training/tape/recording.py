"""What a step did: every operation that PyTorch's dispatcher saw, below autograd, in order.

The forward pass, the backward passes, the tangents of forward mode: to the dispatcher all are
plain operations on plain tensors. What a step does in Python beside them must not depend on the
batch: see `curvetune.training.engine`.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from curvetune.methods.shared.optimizers import RECORDER, Call

# Of all tensors of a step, which are held while it is recorded. Larger steps gain little: their
# time goes into kernels.
MOST_BYTES = 64 << 20

DEPENDS_ON_DATA = (torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape)


class RefusedError(Exception):
    """A step does what a recording cannot do again."""


@dataclass(frozen=True)
class Operation:
    """An operation with what it took and what it returned."""

    function: Any  # torch._ops.OpOverload
    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    out: Any


@dataclass(frozen=True)
class Called:
    """A call of Python that belongs into each repetition."""

    function: Call
    tensors: tuple[Tensor, ...]


class Recording:
    """The events of a step, and why it cannot be repeated, if so."""

    def __init__(self) -> None:
        self.events: list[Operation | Called] = []
        self.refused: str | None = None
        self._is_paused = False
        self._bytes = 0

    @contextmanager
    def going(self) -> Iterator[None]:
        """Record while the block runs."""
        token = RECORDER.set(self)
        try:
            with _Mode(self):
                yield
        finally:
            RECORDER.reset(token)

    def call(self, function: Call, tensors: Sequence[Tensor]) -> None:
        """Make a call whose operations are its own affair."""
        self._is_paused = True
        try:
            function(tensors)
        finally:
            self._is_paused = False
        self.events.append(Called(function, tuple(tensors)))

    def saw(self, function: Any, args: Sequence[Any], kwargs: Mapping[str, Any], out: Any) -> None:
        """Take an operation, unless it only asks for a shape."""
        if self._is_paused or self.refused is not None:
            return
        tensors = list(tensors_in(out))
        if not tensors and not function._schema.is_mutable:
            if torch.Tag.data_dependent_output in function.tags:
                self.refuse(f"{function} reads a number")
            return
        if _depends_on_data(function, args):
            self.refuse(f"the shape of what {function} returns depends on the data")
            return
        self._bytes += sum(t.numel() * t.element_size() for t in tensors)
        if self._bytes > MOST_BYTES:
            self.refuse(f"its tensors have more than {MOST_BYTES} bytes")
            return
        self.events.append(Operation(function, args, kwargs, out))

    def refuse(self, why: str) -> None:
        """Note why the step cannot be repeated, and let its tensors go."""
        self.refused = why
        self.events.clear()


class _Mode(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self, recording: Recording) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._recording = recording

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # else it imports PyTorch's compiler, for marks that only that reads

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        self._recording.saw(func, args, kwargs, out)
        return out


def tensors_in(value: Any) -> Iterator[Tensor]:
    """Yield the tensors in an argument or in what an operation returned."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for each in value:
            yield from tensors_in(each)


def _depends_on_data(function: Any, args: Sequence[Any]) -> bool:
    if not any(tag in function.tags for tag in DEPENDS_ON_DATA):
        return False
    is_index = function._schema.name == "aten::index"
    is_mask = (torch.bool, torch.uint8)
    return not is_index or any(t.dtype in is_mask for t in tensors_in(args[1]))
