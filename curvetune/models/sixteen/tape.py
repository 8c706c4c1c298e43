"""A stage of a network as a list of operations, to be run, and differentiated both ways."""

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, fx, nn

from curvetune.models.sixteen.operations import (
    BatchNorm,
    Convolution,
    Operation,
    ReLU,
    Saved,
    Shortcut,
    Sum,
)


@dataclass(frozen=True)
class Line:
    """An operation, the numbers of the lines that it reads, and how many weights it has.

    Line 0 is the stage's input.
    """

    operation: Operation
    reads: tuple[int, ...]
    width: int


class Tape:
    """The operations of a stage in order; the last gives its value."""

    def __init__(self, lines: Sequence[Line]) -> None:
        self._lines = lines

    def weights(self) -> list[Tensor]:
        """Return the parameters of all operations as they are now."""
        return [weight for line in self._lines for weight in line.operation.weights()]

    def run(self, x: Tensor, weights: Sequence[Tensor]) -> tuple[Tensor, list[Saved]]:
        """Return the value of the stage, and what its derivatives need."""
        values, saved = [x], []
        for line, own in zip(self._lines, self._shared(weights), strict=True):
            value, kept = line.operation.run([values[k] for k in line.reads], own)
            values.append(value)
            saved.append(kept)
        return values[-1], saved

    def back(
        self, saved: Sequence[Saved], slope: Tensor, is_asked: bool
    ) -> tuple[Tensor | None, list[Tensor]]:
        """Return the slopes of the input, None unless it is asked for, and of all weights."""
        slopes: list[Tensor | None] = [None] * len(self._lines) + [slope]
        of_weights: list[list[Tensor]] = []
        for number in range(len(self._lines), 0, -1):
            line, here = self._lines[number - 1], slopes[number]
            slopes[number] = None  # its memory is free for the next
            assert here is not None, "every line is read"
            wanted = is_asked or line.reads != (0,)
            of_inputs, own = line.operation.back(saved[number - 1], here, wanted)
            of_weights.append(own)
            for k, of_input in zip(line.reads, of_inputs, strict=True):
                slopes[k] = _added(slopes[k], of_input, may_write=not _is_sum(line))
        return slopes[0], [slope for own in reversed(of_weights) for slope in own]

    def move(
        self, saved: Sequence[Saved], tangent: Tensor | None, slopes: Sequence[Tensor]
    ) -> Tensor:
        """Return the tangent of the value, from those of the input and of all weights."""
        tangents: list[Tensor | None] = [tangent]
        for line, kept, own in zip(self._lines, saved, self._shared(slopes), strict=True):
            tangents.append(line.operation.move(kept, [tangents[k] for k in line.reads], own))
        moved = tangents[-1]
        assert moved is not None
        return moved

    def _shared(self, weights: Sequence[Tensor]) -> list[Sequence[Tensor]]:
        """Return the weights of each line."""
        shares, start = [], 0
        for line in self._lines:
            shares.append(weights[start : start + line.width])
            start += line.width
        return shares


def _added(before: Tensor | None, slope: Tensor | None, *, may_write: bool) -> Tensor | None:
    """Return the sum of two slopes of one value; in place of the second where that is allowed."""
    if before is None or slope is None:
        return slope
    return slope.add_(before) if may_write else slope + before


def _is_sum(line: Line) -> bool:
    return isinstance(line.operation, Sum)  # whose slope is the same tensor for both


def recorded(stage: nn.Module) -> Tape | None:
    """Return the tape of a stage; None if it has an operation that is not known here."""
    whole = nn.Sequential(stage)  # of which the stage may be a single layer
    modules = dict(whole.named_modules())
    numbers: dict[fx.Node, int] = {}
    lines: list[Line] = []
    for node in _Leaves().trace(whole).nodes:
        if node.op == "placeholder":
            numbers[node] = 0
        elif node.op == "output":
            return Tape(lines) if numbers.get(node.args[0]) == len(lines) else None
        elif _is_half_a_shortcut(node):
            numbers[node] = numbers[node.all_input_nodes[0]]
        else:
            operation = _operation(node, modules)
            if operation is None:
                return None
            reads = tuple(numbers[other] for other in node.all_input_nodes)
            lines.append(Line(operation, reads, len(operation.weights())))
            numbers[node] = len(lines)
    return None


class _Leaves(fx.Tracer):
    """Takes the layers that are known here as one operation each."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Say so of a module."""
        return not isinstance(m, nn.Sequential) and type(m).__module__.startswith("torch.nn")


def _operation(node: fx.Node, modules: Mapping[str, nn.Module]) -> Operation | None:
    """Return what a node of a graph does, if it is known here."""
    if node.op == "call_module":
        module = modules[str(node.target)]
        if type(module) is nn.Conv2d and module.bias is None and module.padding_mode == "zeros":
            return Convolution(module)
        if type(module) is nn.BatchNorm2d and module.affine and module.track_running_stats:
            return BatchNorm(module)
        return ReLU(_is_free(node, modules)) if type(module) is nn.ReLU else None
    if node.target is F.relu and not node.kwargs.get("inplace"):
        return ReLU(_is_free(node, modules))
    if node.target is operator.add and len(node.all_input_nodes) == 2:
        return Sum(_is_free(node, modules))
    return _shortcut(node) if node.target is F.pad else None


def _is_free(node: fx.Node, modules: Mapping[str, nn.Module]) -> bool:
    """Say whether a node may write to what it reads first.

    That is so if it alone reads it, and if what made it does not keep it for its derivatives.
    """
    first = node.all_input_nodes[0]
    if len(first.users) != 1:
        return False
    if first.op == "call_module":
        return isinstance(modules[str(first.target)], nn.Conv2d | nn.BatchNorm2d)
    return bool(first.target is operator.add)


def _is_half_a_shortcut(node: fx.Node) -> bool:
    """Say whether a node takes every so-manieth pixel, for padding with channels and that alone."""
    is_first = node.target is F.avg_pool2d and node.args[1:2] == (1,) and len(node.args) == 3
    return is_first and [_shortcut(user) is not None for user in node.users] == [True]


def _shortcut(node: fx.Node) -> Shortcut | None:
    """Return option A's shortcut, if a node ends one."""
    pool, widths = node.all_input_nodes[0], node.args[1] if len(node.args) == 2 else None
    if not isinstance(widths, tuple) or len(widths) != 6 or any(widths[:4]):
        return None
    stride = pool.args[2] if pool.target is F.avg_pool2d else 1
    assert isinstance(stride, int)
    return Shortcut(stride, int(str(widths[4])), int(str(widths[5])))
