"""PyTorch's SGD and Adam for a CPU, without what only its compiler needs.

Their numbers are those of `torch.optim`, bit for bit. Three things are less:

- `torch.optim` imports PyTorch's compiler, `torch._dynamo`, when an optimizer is made: 1.2 s and
  60 MB in every worker, for marks that only a compiled step reads.
- A step goes through the parameters in C++ (`foreach`), and so takes a fifth of the time for the
  22 tensors of a ResNet-8 (docs/measurements.md).
- A recorder of steps sees one call for it (`apart`): what is counted in Python stays there.
"""

import inspect
from collections.abc import Callable, Iterable, Sequence
from contextvars import ContextVar
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor

Call = Callable[[Sequence[Tensor]], None]


class Recorder(Protocol):
    """Who records the operations of a step, to do them again without Python."""

    def call(self, function: Call, tensors: Sequence[Tensor]) -> None:
        """Make a call that is to be made again at this place of a repeated step."""
        ...


RECORDER: ContextVar[Recorder | None] = ContextVar("RECORDER", default=None)


def apart(function: Call, tensors: Sequence[Tensor]) -> None:
    """Call `function`, which a step that is recorded now will call again, with its own tensors."""
    recorder = RECORDER.get()
    if recorder is None:
        function(tensors)
    else:
        recorder.call(function, tensors)


class _Light(torch.optim.Optimizer):
    """What both have in common: PyTorch's own methods, without its compiler's marks."""

    def _bare_step(self) -> None: ...

    def __init__(self, params: Iterable[Tensor], **settings: Any) -> None:
        """Take what PyTorch's own takes, by name."""
        super().__init__(params, foreach=True, **settings)  # type: ignore[call-arg]

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take a step down the gradients of all parameters that have one."""
        if closure is not None:
            raise ValueError("a closure was given; a step takes none, torch.optim's own does")
        params = [p for group in self.param_groups for p in group["params"] if p.grad is not None]
        apart(partial(self._step, params), [param.grad for param in params])

    def _step(self, params: Sequence[Tensor], grads: Sequence[Tensor]) -> None:
        for param, grad in zip(params, grads, strict=True):
            param.grad = grad
        with torch.no_grad():
            self._bare_step()

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients, or set them to zero."""
        for group in self.param_groups:
            for param in group["params"]:
                if set_to_none or param.grad is None:
                    param.grad = None
                else:
                    param.grad.detach_().zero_()

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters with settings of their own."""
        inspect.unwrap(torch.optim.Optimizer.add_param_group)(self, param_group)

    def state_dict(self) -> dict[str, Any]:
        """Return the state, as PyTorch's own optimizer does."""
        state: dict[str, Any] = inspect.unwrap(torch.optim.Optimizer.state_dict)(self)
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned, here or in PyTorch's own optimizer."""
        inspect.unwrap(torch.optim.Optimizer.load_state_dict)(self, state_dict)
        for group in self.param_groups:
            group["foreach"] = True  # a checkpoint of before has it off


class Sgd(_Light, torch.optim.SGD):
    """`torch.optim.SGD`."""

    def _bare_step(self) -> None:
        """Do what PyTorch's own step does, in four calls for each group of parameters."""
        for group in self.param_groups:
            params = [param for param in group["params"] if param.grad is not None]
            states = [self.state[param] for param in params]
            begins = any("momentum_buffer" not in state for state in states)
            if begins or not group["momentum"] or group["maximize"]:
                inspect.unwrap(torch.optim.SGD.step)(self)
                return
        for group in self.param_groups:
            self._descend(group)

    def _descend(self, group: dict[str, Any]) -> None:
        params = [param for param in group["params"] if param.grad is not None]
        if not params:
            return
        steps = tuple(param.grad for param in params)
        if group["weight_decay"]:
            steps = torch._foreach_add(steps, params, alpha=group["weight_decay"])
        moving = tuple(self.state[param]["momentum_buffer"] for param in params)
        torch._foreach_mul_(moving, group["momentum"])
        torch._foreach_add_(moving, steps, alpha=1 - group["dampening"])
        if group["nesterov"]:
            steps = torch._foreach_add(steps, moving, alpha=group["momentum"])
        else:
            steps = moving
        torch._foreach_add_(params, steps, alpha=-group["lr"])


class Adam(_Light, torch.optim.Adam):
    """`torch.optim.Adam`."""

    def _bare_step(self) -> None:
        inspect.unwrap(torch.optim.Adam.step)(self)


def new_sgd(params: Iterable[Tensor], **settings: Any) -> torch.optim.SGD:
    """Return SGD for parameters on any device; `settings` are those of `torch.optim.SGD`."""
    params = list(params)
    return torch.optim.SGD(params, **settings) if params[0].is_cuda else Sgd(params, **settings)


def new_adam(params: Iterable[Tensor], **settings: Any) -> torch.optim.Adam:
    """Return Adam for parameters on any device; on a GPU a captured step counts on the device."""
    params = list(params)
    if params[0].is_cuda:
        return torch.optim.Adam(params, capturable=True, **settings)
    return Adam(params, **settings)
