"""The operations of a network in 16 bits, on tensors in oneDNN's own layout.

oneDNN's batch norm, ReLU and sum of such tensors take a fifth of the time of PyTorch's own kernels
for bfloat16 (docs/measurements.md). PyTorch can differentiate some of them backward and none
forward, so each operation here has three functions. `run` returns its value and what the others
need of it, `back` what a slope at its value makes of its inputs and weights, and `move` how fast
its value moves where inputs and weights do.

Values, slopes and tangents are rounded to 16 bits when they are written. oneDNN computes in 32:
sums of a convolution, the statistics of batch norm, and everything else that is a sum over pixels.
Weights, their slopes and running statistics are ordinary tensors of 32 bits.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

aten = torch.ops.aten
Saved = tuple[Any, ...]


class Operation(Protocol):
    """An operation of a network."""

    def weights(self) -> list[Tensor]:
        """Return its parameters as they are now: a functional call puts others in their place."""
        ...

    def run(self, inputs: Sequence[Tensor], weights: Sequence[Tensor]) -> tuple[Tensor, Saved]:
        """Return its value, and what `back` and `move` need."""
        ...

    def back(
        self, saved: Saved, slope: Tensor, is_asked: bool
    ) -> tuple[list[Tensor | None], list[Tensor]]:
        """Return the slopes of the inputs, None where nobody asked for them, and of the weights."""
        ...

    def move(
        self, saved: Saved, tangents: Sequence[Tensor | None], slopes: Sequence[Tensor]
    ) -> Tensor | None:
        """Return the tangent of its value, from those of its inputs and weights.

        None is the tangent of what does not move.
        """
        ...


@dataclass
class Convolution:
    """A convolution without bias."""

    conv: nn.Conv2d

    def weights(self) -> list[Tensor]:
        """Return the kernels."""
        return [self.conv.weight]

    def run(self, inputs: Sequence[Tensor], weights: Sequence[Tensor]) -> tuple[Tensor, Saved]:
        """Return (B, width, H/stride, W/stride)."""
        (x,), (weight,) = inputs, weights
        weight = weight.contiguous()  # as oneDNN takes it: once for the pass and its derivatives
        return self._convolved(x, weight), (x, weight)

    def back(
        self, saved: Saved, slope: Tensor, is_asked: bool
    ) -> tuple[list[Tensor | None], list[Tensor]]:
        """Return the slopes of images and kernels."""
        x, weight = saved
        of_x, of_weight, _ = aten.convolution_backward(
            slope, x, weight, None, *self._shape(), [is_asked, True, False]
        )
        return [of_x], [of_weight.to(weight.dtype)]

    def move(
        self, saved: Saved, tangents: Sequence[Tensor | None], slopes: Sequence[Tensor]
    ) -> Tensor:
        """Return what images and kernels that move contribute: a convolution is linear in both."""
        x, weight = saved
        (tangent,), (slope,) = tangents, slopes
        moved = self._convolved(x, slope)
        return moved if tangent is None else moved.add_(self._convolved(tangent, weight))

    def _convolved(self, x: Tensor, weight: Tensor) -> Tensor:
        result: Tensor = aten.convolution(x, weight, None, *self._shape())
        return result

    def _shape(self) -> tuple[Any, ...]:
        conv = self.conv
        return conv.stride, conv.padding, conv.dilation, False, [0, 0], conv.groups


@dataclass
class Shortcut:
    """Every `stride`-th pixel, with channels of zeros before and after: a convolution by 0 and 1.

    So it is exact in 16 bits.
    """

    stride: int
    before: int
    after: int

    def weights(self) -> list[Tensor]:
        """Return nothing."""
        return []

    def run(self, inputs: Sequence[Tensor], weights: Sequence[Tensor]) -> tuple[Tensor, Saved]:
        """Return (B, before + C + after, H/stride, W/stride)."""
        (x,) = inputs
        width = x.shape[1]
        kernels = torch.zeros(self.before + width + self.after, width, 1, 1)
        kernels[range(self.before, self.before + width), range(width)] = 1
        return self._convolved(x, kernels), (x, kernels)

    def back(
        self, saved: Saved, slope: Tensor, is_asked: bool
    ) -> tuple[list[Tensor | None], list[Tensor]]:
        """Return the slope of the images."""
        x, kernels = saved
        asked = [is_asked, False, False]
        return [aten.convolution_backward(slope, x, kernels, None, *self._shape(), asked)[0]], []

    def move(
        self, saved: Saved, tangents: Sequence[Tensor | None], slopes: Sequence[Tensor]
    ) -> Tensor | None:
        """Return the shortcut of the tangent."""
        (tangent,) = tangents
        return None if tangent is None else self._convolved(tangent, saved[1])

    def _convolved(self, x: Tensor, kernels: Tensor) -> Tensor:
        result: Tensor = aten.convolution(x, kernels, None, *self._shape())
        return result

    def _shape(self) -> tuple[Any, ...]:
        return [self.stride] * 2, [0, 0], [1, 1], False, [0, 0], 1


@dataclass
class BatchNorm:
    """Batch norm, y = γ x̂ + β: with batch statistics, and the running ones kept up to date.

    In evaluation mode it is with the running ones, and has no derivatives.
    """

    norm: nn.BatchNorm2d

    def weights(self) -> list[Tensor]:
        """Return γ and β."""
        return [self.norm.weight, self.norm.bias]

    def run(self, inputs: Sequence[Tensor], weights: Sequence[Tensor]) -> tuple[Tensor, Saved]:
        """Return (B, C, H, W)."""
        (x,), (scale, shift), norm = inputs, weights, self.norm
        if not norm.training:
            return torch.native_batch_norm(
                x, scale, shift, norm.running_mean, norm.running_var, False, 0.0, norm.eps
            )[0], ()
        y, mean, variance = torch.native_batch_norm(
            x, scale, shift, None, None, True, 0.0, norm.eps
        )
        self._keep(mean.to_dense(), variance.to_dense(), x.numel() // x.shape[1])
        return y, (x, scale, mean, variance)

    def _keep(self, mean: Tensor, variance: Tensor, count: int) -> None:
        norm: Any = self.norm  # which has them: its tape would not be run otherwise
        norm.num_batches_tracked.add_(1)
        norm.running_mean.lerp_(mean, norm.momentum)
        norm.running_var.lerp_(variance * (count / max(count - 1, 1)), norm.momentum)

    def back(
        self, saved: Saved, slope: Tensor, is_asked: bool
    ) -> tuple[list[Tensor | None], list[Tensor]]:
        """Return the slopes of x, γ and β."""
        of_x, of_scale, of_shift = self._backward(saved, slope)
        return [of_x], [of_scale, of_shift]

    def move(
        self, saved: Saved, tangents: Sequence[Tensor | None], slopes: Sequence[Tensor]
    ) -> Tensor:
        """Return J ẋ + γ̇ x̂ + β̇. J is symmetric, so J ẋ is what the backward pass makes of ẋ."""
        x, _, mean, variance = saved
        (tangent,), (scale_slope, shift_slope) = tangents, slopes
        moved: Tensor = torch.native_batch_norm(
            x, scale_slope, shift_slope, mean, variance, False, 0.0, self.norm.eps
        )[0]
        return moved if tangent is None else moved.add_(self._backward(saved, tangent)[0])

    def _backward(self, saved: Saved, slope: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, scale, mean, variance = saved
        slopes: tuple[Tensor, Tensor, Tensor] = aten.native_batch_norm_backward(
            slope, x, scale, None, None, mean, variance, True, self.norm.eps, [True] * 3
        )
        return slopes


@dataclass
class ReLU:
    """max(x, 0); in place where nobody else reads x."""

    in_place: bool

    def weights(self) -> list[Tensor]:
        """Return nothing."""
        return []

    def run(self, inputs: Sequence[Tensor], weights: Sequence[Tensor]) -> tuple[Tensor, Saved]:
        """Return (B, C, H, W)."""
        y = torch.relu_(inputs[0]) if self.in_place else torch.relu(inputs[0])
        return y, (y,)

    def back(
        self, saved: Saved, slope: Tensor, is_asked: bool
    ) -> tuple[list[Tensor | None], list[Tensor]]:
        """Return the slope where the value is above 0."""
        return [aten.threshold_backward(slope, saved[0], 0)], []

    def move(
        self, saved: Saved, tangents: Sequence[Tensor | None], slopes: Sequence[Tensor]
    ) -> Tensor | None:
        """Return the tangent where the value is above 0."""
        (tangent,) = tangents
        moved: Tensor | None = (
            None if tangent is None else aten.threshold_backward(tangent, saved[0], 0)
        )
        return moved


@dataclass
class Sum:
    """x + y; in place of x where nobody else reads it."""

    in_place: bool

    def weights(self) -> list[Tensor]:
        """Return nothing."""
        return []

    def run(self, inputs: Sequence[Tensor], weights: Sequence[Tensor]) -> tuple[Tensor, Saved]:
        """Return (B, C, H, W)."""
        one, other = inputs
        return one.add_(other) if self.in_place else one + other, ()

    def back(
        self, saved: Saved, slope: Tensor, is_asked: bool
    ) -> tuple[list[Tensor | None], list[Tensor]]:
        """Return the slope for both."""
        return [slope, slope], []

    def move(
        self, saved: Saved, tangents: Sequence[Tensor | None], slopes: Sequence[Tensor]
    ) -> Tensor | None:
        """Return the sum of the tangents."""
        one, other = tangents
        if one is None or other is None:
            return other if one is None else one
        return one.add_(other) if self.in_place else one + other
