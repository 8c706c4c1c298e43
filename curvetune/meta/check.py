"""Whether forward mode is right for a network, checked before it is first used.

Forward mode is silently wrong where an operation hides from it: one made by
`torch.library.custom_op` has no tangent and counts as a constant, and so do torchvision's
`deform_conv2d` and `roi_align`. The backward pass, which the network is trained by, is not. So both
are compared on a tiny batch of random images: with the gradient g = Jᵀu of Σ u_i ℓ_i and a
direction d, forward mode's ⟨u, J d⟩ must be ⟨g, d⟩. With d = g / ‖g‖ for each parameter, nothing
cancels in ⟨g, d⟩ = Σ ‖g‖, and each parameter counts. Every network that can be trained has this
reference, also one whose backward pass cannot be differentiated again.

The network, its buffers and all random generators are left as they were. It is run in float64,
where the two agree to ten digits, unless it cannot; and at parameters a little off its own, since
behind a layer that starts at zero nothing shows.
"""

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from curvetune.batch import Batch
from curvetune.errors import DerivativeError
from curvetune.meta.hidden import Losing, named_in, without_jvp
from curvetune.meta.known import Known
from curvetune.meta.passes import Pass, first_pass, ordinary_mode, sample_losses

logger = logging.getLogger(__name__)

Mode = Literal["forward", "double backward"]

SIZE = 4  # samples; batch norm over two of 1×1 pixels would have a gradient of 0
LARGEST_ERROR = 1e-6  # relative, in float64: seen are 1e-12 and less
LARGEST_ERROR_16 = 0.05  # where float64 cannot be; layers may be in 16 bits
SHAKE = 0.1  # of the root mean square of each parameter, or of 1 where that is 0
SEED = 0  # of images and parameters of the check


@dataclass(frozen=True)
class Verdict:
    """How the meta gradient of a network can be computed.

    Args:
        agrees: whether what `mode` computes is right; if not, neither mode is.
        mode: `forward` where it is right, else `double backward`.
        error: of forward mode, relative; infinite if it raises an error.
        operation: that forward mode does not see, if it could be found.
        repeats: whether a second pass gives the losses of the first; if not, no method of
            derivatives nor a finite difference is right.
    """

    agrees: bool
    mode: Mode
    error: float
    operation: str | None = None
    repeats: bool = True


def check_forward_mode(model: nn.Module, images_shape: Sequence[int], num_classes: int) -> Verdict:
    """Compare forward mode with the backward pass, and if they differ the double backward too.

    The network is run in the mode that it is in, and left as it was.

    Args:
        images_shape: (C, H, W).
        num_classes: K, the width of its logits.

    Raises:
        RuntimeError: the network cannot be run, or cannot be differentiated at all.
    """
    with ordinary_mode(), torch.enable_grad(), _own_draws(next(model.parameters()).device):
        for dtype, shake in ((torch.float64, SHAKE), (torch.float64, 0.0)):
            try:
                trial = _Trial(model, images_shape, num_classes, dtype, shake)
            except (RuntimeError, TypeError):  # as an operation that knows one type of number only
                break
            if trial.is_finite:
                return trial.verdict(LARGEST_ERROR)
        own = next(model.parameters()).dtype
        trial = _Trial(model, images_shape, num_classes, own, 0.0)
        return trial.verdict(LARGEST_ERROR_16)


def trusted_mode(passed: Pass, *, needs_derivative: bool = True) -> Mode:
    """Return how derivatives of the network of a pass are computed; it is checked once.

    The first steps of a training are never those of a CUDA graph, so the check is in none.

    Args:
        needs_derivative: False for a finite difference, which takes losses alone.

    Raises:
        DerivativeError: they would be wrong.
    """
    verdict = _verdicts.get(passed.model)
    if verdict is None:
        is_captured = passed.losses.is_cuda and torch.cuda.is_current_stream_capturing()
        assert not is_captured, "a check waits for the device"
        verdict = check_forward_mode(passed.model, passed.batch.x.shape[1:], passed.logits.shape[1])
        _verdicts.set(passed.model, verdict)
    name = type(passed.model).__name__
    if not verdict.repeats:
        raise DerivativeError(
            f"{name} gives other losses when it is run again on the same images, so its meta "
            "gradient is wrong. What it draws at random must come from PyTorch's operations, such "
            "as dropout. Draw so, or choose a method without a meta gradient"
        )
    if needs_derivative and not verdict.agrees:
        raise DerivativeError(
            f"{name}: {_told(verdict)}, and its backward pass cannot be differentiated. A meta "
            "gradient needs one of the two. Write the operation as a torch.autograd.Function "
            "with a jvp, or set meta_gradient: finite_difference, or choose a method without a "
            "meta gradient"
        )
    if needs_derivative and verdict.mode != "forward" and (name, verdict.operation) not in _said:
        _said.add((name, verdict.operation))
        logger.warning(
            "%s: %s. The meta gradient is computed by a double backward instead, which is right "
            "and takes about twice as long",
            name,
            _told(verdict),
        )
    return verdict.mode


_verdicts: Known[Verdict] = Known()
_said: set[tuple[str, str | None]] = set()


def _told(verdict: Verdict) -> str:
    """Return what forward mode does wrong, as the first part of a message."""
    what = verdict.operation or "an operation whose name could not be found"
    if verdict.error == float("inf"):
        return f"forward mode cannot differentiate {what}"
    return f"forward mode does not see {what} and would be {verdict.error:.2g} off, relatively"


@contextmanager
def _own_draws(device: torch.device) -> Iterator[None]:
    """Let what is drawn inside be the same each time, and change no generator."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.default_generator.manual_seed(SEED)
        for each in devices:
            torch.cuda.default_generators[each.index].manual_seed(SEED)
        yield


class _Trial:
    """A pass over a tiny batch, and the gradient to compare with."""

    def __init__(
        self,
        model: nn.Module,
        images_shape: Sequence[int],
        num_classes: int,
        dtype: torch.dtype,
        shake: float,
    ) -> None:
        device = next(model.parameters()).device
        draws = torch.Generator(device).manual_seed(SEED)
        x = torch.randn(SIZE, *images_shape, generator=draws, device=device, dtype=dtype)
        index = torch.arange(SIZE, device=device)
        self._passed = first_pass(
            model,
            Batch(x, index % num_classes, index),
            params=_shaken(model, dtype, shake, draws),
        )
        self._counts = torch.rand(SIZE, generator=draws, device=device, dtype=dtype) + 0.5
        slopes = torch.autograd.grad(
            self._passed.losses,
            list(self._passed.params.values()),
            self._counts.to(self._passed.losses.dtype),
            retain_graph=True,  # in which an operation may be looked for
            materialize_grads=True,
        )
        norms = [slope.norm() for slope in slopes]
        self._direction = [
            slope / torch.where(norm > 0, norm, 1)
            for slope, norm in zip(slopes, norms, strict=True)
        ]
        self._expected = float(torch.stack(norms).sum())
        self.is_finite = bool(self._passed.losses.isfinite().all()) and math.isfinite(
            self._expected
        )

    def verdict(self, largest: float) -> Verdict:
        """Return the verdict, with errors up to `largest` taken for rounding."""
        operation = None
        try:
            losses, products = self._passed.by_forward_mode(sample_losses, self._direction)
        except (RuntimeError, TypeError) as error:  # NotImplementedError above all
            wrong, repeats = float("inf"), True
            operation = named_in(error) or without_jvp(self._passed.losses)
        else:
            wrong, repeats = self._error(products), self._is_first(losses, largest)
        if wrong <= largest and repeats:
            return Verdict(True, "forward", wrong)
        operation = operation or self._losing()
        agrees = repeats and self._falls_back(largest)
        return Verdict(agrees, "double backward", wrong, operation, repeats)

    def _error(self, products: Tensor) -> float:
        """Return how far ⟨u, products⟩ is from what it should be."""
        found = float((self._counts * products).sum())
        if found == self._expected:
            return 0.0
        difference = abs(found - self._expected)
        error = difference / abs(self._expected) if self._expected else float("inf")
        return error if math.isfinite(error) else float("inf")

    def _is_first(self, losses: Tensor, largest: float) -> bool:
        """Say whether a second pass gave the losses of the first."""
        return torch.allclose(losses, self._passed.losses, rtol=largest, atol=largest)

    def _falls_back(self, largest: float) -> bool:
        """Say whether the double backward is right."""
        try:
            products = self._passed.by_double_backward(sample_losses, self._direction)
        except (RuntimeError, TypeError):
            return False
        return self._error(products) <= largest

    def _losing(self) -> str | None:
        """Return the operation that forward mode does not see, if it can be found."""
        looking = Losing()
        try:
            with looking:
                self._passed.by_forward_mode(sample_losses, self._direction)
        except (RuntimeError, TypeError):
            pass  # it is known already that forward mode fails; how far it came is of use
        return looking.operation


def _shaken(
    model: nn.Module, dtype: torch.dtype, shake: float, draws: torch.Generator
) -> Mapping[str, Tensor]:
    """Return the parameters of a network as leaves of a graph, a little off where they are."""
    params = {}
    for name, param in model.named_parameters():
        value = param.detach().to(dtype, copy=True)
        if shake:
            size = value.square().mean().sqrt()
            step = torch.rand(value.shape, generator=draws, device=value.device, dtype=dtype) - 0.5
            value += shake * torch.where(size > 0, size, 1) * step
        params[name] = value.requires_grad_()
    return params
