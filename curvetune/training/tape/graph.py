"""Recorded operations as a graph of TorchScript, whose interpreter runs them one after another.

It is used as an interpreter alone: nothing is compiled, optimized or fused, so every number is
that of the same kernel on the same tensors. A call into an operation takes it about a microsecond,
where Python, autograd and their bookkeeping take several. It lets go of a tensor after its last
use.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from curvetune.training.tape.recording import Operation, RefusedError

# The numbers that TorchScript has for them (c10/core/MemoryFormat.h and Layout.h).
NUMBERS = {
    torch.contiguous_format: 0,
    torch.preserve_format: 1,
    torch.channels_last: 2,
    torch.channels_last_3d: 3,
    torch.strided: 0,
}
SAME = ("aten::detach", "aten::alias")  # the same memory under another name


class Names:
    """Which recorded tensors are the same, by number.

    Autograd keeps tensors under other names, so a tensor that no operation returned may share its
    memory with one that did. It is that one, if it also has its shape.
    """

    def __init__(self) -> None:
        self._count = 0
        self._numbers: dict[int, int] = {}  # of a tensor's identity
        self._shapes: dict[tuple[Any, ...], int] = {}
        self._made: set[int] = set()  # memory that the step made, or was given
        self._others: set[int] = set()  # memory from before

    def made(self, tensor: Tensor) -> int:
        """Return the new number of a tensor that the step makes, or is given."""
        self._count += 1
        self._known(tensor, number := self._count)
        if (memory := tensor.untyped_storage()._cdata) not in self._others:
            self._made.add(memory)
        return number

    def same(self, tensor: Tensor, other: Tensor) -> None:
        """Note that a tensor is another one, which is known."""
        self._known(tensor, self._numbers[id(other)])

    def of(self, tensor: Tensor) -> int | None:
        """Return the number of a tensor; None for one that was there before the step.

        Raises:
            RefusedError: nobody knows where it came from.
        """
        number = self._numbers.get(id(tensor))
        if number is not None:
            return number
        memory = tensor.untyped_storage()._cdata
        if memory in self._made:
            number = self._shapes.get(_shape(tensor))
            if number is None:
                raise RefusedError("a tensor is a part of another one that no operation made")
            return number
        self._others.add(memory)
        return None

    def _known(self, tensor: Tensor, number: int) -> None:
        self._numbers[id(tensor)] = number
        self._shapes.setdefault(_shape(tensor), number)


def _shape(tensor: Tensor) -> tuple[Any, ...]:
    return (
        tensor.untyped_storage()._cdata,
        tensor.storage_offset(),
        tensor.shape,
        tensor.stride(),
        tensor.dtype,
    )


class Part:
    """Operations without a call of Python between them.

    Args:
        needed: numbers that are needed afterwards, among others.
    """

    def __init__(self, operations: Sequence[Operation], names: Names) -> None:
        self._graph: Any = torch._C.Graph()
        self._names = names
        self._values: dict[int, Any] = {}
        self._constants: dict[int, Any] = {}
        self.takes: list[int] = []
        self.made: list[int] = []
        self.gives: list[int] = []
        for operation in operations:
            self._add(operation)
        self._run: Any = None

    def finish(self, needed: Iterable[int]) -> None:
        """Make it ready to run, so that it returns what is needed of what it makes."""
        self.gives = [number for number in self.made if number in set(needed)]
        outputs = [self._values[number] for number in self.gives]
        together = self._graph.create("prim::TupleConstruct", outputs, 1)
        self._graph.appendNode(together)
        together.output().setType(torch._C.TupleType([torch._C.TensorType.get()] * len(outputs)))
        self._graph.registerOutput(together.output())
        self._run = torch._C._create_function_from_graph("step", self._graph)

    def __call__(self, taken: Sequence[Tensor]) -> Sequence[Tensor]:
        """Run the operations on tensors for `takes`; return those for `gives`."""
        given: Sequence[Tensor] = self._run(*taken)
        return given

    def _add(self, operation: Operation) -> None:
        schema = operation.function._schema
        if schema.name in SAME:
            self._alias(operation)
            return
        values = [
            self._value(_given(operation, place, argument), argument.type)
            for place, argument in enumerate(schema.arguments)
        ]
        node = self._graph.create(schema.name, values, len(schema.returns))
        self._graph.appendNode(node)
        outs = operation.out if isinstance(operation.out, list | tuple) else [operation.out]
        for value, returned, out in zip(node.outputs(), schema.returns, outs, strict=False):
            value.setType(returned.type)
            if isinstance(out, Tensor):
                self._define(self._names.made(out), value)
            elif out is not None:
                raise RefusedError(f"{schema.name} returns more than tensors")

    def _alias(self, operation: Operation) -> None:
        source = operation.args[0]
        if self._names.of(source) is None:
            self._define(self._names.made(operation.out), self._tensor(source))
        else:
            self._names.same(operation.out, source)

    def _define(self, number: int, value: Any) -> None:
        self._values[number] = value
        self.made.append(number)

    def _value(self, given: Any, kind: Any) -> Any:
        """Return the graph's value of an argument of some type."""
        if isinstance(given, Tensor):
            return self._tensor(given)
        if isinstance(given, list | tuple) and (
            not given or any(isinstance(each, Tensor) for each in given)
        ):
            return self._list(given, kind)
        if isinstance(given, int) and "float" in str(kind) and not isinstance(given, bool):
            given = float(given)
        if isinstance(given, torch.memory_format | torch.layout):
            given = NUMBERS[given]
        return self._graph.insertConstant(list(given) if isinstance(given, tuple) else given)

    def _list(self, given: Sequence[Any], kind: Any) -> Any:
        values = [self._value(each, "Tensor") for each in given]
        node = self._graph.create("prim::ListConstruct", values, 1)
        self._graph.appendNode(node)
        node.output().setType(kind)
        return node.output()

    def _tensor(self, tensor: Tensor) -> Any:
        number = self._names.of(tensor)
        if number is None:
            if id(tensor) not in self._constants:
                self._constants[id(tensor)] = self._graph.insertConstant(tensor.detach())
            return self._constants[id(tensor)]
        if number not in self._values:
            self._values[number] = self._graph.addInput()
            self.takes.append(number)
        return self._values[number]


def _given(operation: Operation, place: int, argument: Any) -> Any:
    """Return what an operation took for an argument of its schema."""
    if place < len(operation.args):
        return operation.args[place]
    return operation.kwargs.get(argument.name, argument.default_value)
