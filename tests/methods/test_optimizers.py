"""The optimizers of the methods are PyTorch's own, but for what is done around them."""

import copy
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from curvetune.methods.shared.optimizers import RECORDER, Adam, Sgd

CASES: list[tuple[Any, Any, dict[str, Any]]] = [
    (Sgd, torch.optim.SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 5e-4}),
    (Sgd, torch.optim.SGD, {"lr": 0.1, "momentum": 0.9}),
    (Sgd, torch.optim.SGD, {"lr": 0.1}),
    (Adam, torch.optim.Adam, {"lr": 0.01, "weight_decay": 5e-4}),
    (Adam, torch.optim.Adam, {"lr": 0.01, "betas": (0.1, 0.99)}),
]


def network() -> nn.Module:
    """Return a network whose parameters have the layouts of a ResNet's, half of it unused."""
    torch.manual_seed(0)
    conv = nn.Conv2d(3, 16, 3).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return nn.Sequential(conv, nn.BatchNorm2d(16), nn.Flatten(), nn.Linear(576, 10), nn.Identity())


def losses(net: nn.Module, steps: int) -> Iterable[Tensor]:
    generator = torch.Generator().manual_seed(1)
    for _ in range(steps):
        yield net(torch.randn(4, 3, 8, 8, generator=generator)).square().mean()


@pytest.mark.parametrize(("ours", "theirs", "settings"), CASES)
def test_a_step_is_that_of_pytorch_bit_for_bit(ours: Any, theirs: Any, settings: Any) -> None:
    ends = []
    for kind in (ours, theirs):
        net = network()
        optimizer = kind(net.parameters(), **settings)
        for loss in losses(net, 8):
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        ends.append(list(net.parameters()))
    assert all(map(torch.equal, *ends))


@pytest.mark.parametrize(("ours", "theirs", "settings"), CASES)
def test_a_state_goes_on_in_either_as_if_nothing_had_happened(
    ours: Any, theirs: Any, settings: Any
) -> None:
    ends = []
    for kinds in ((ours, ours), (ours, theirs), (theirs, ours)):
        net = network()
        optimizer = kinds[0](net.parameters(), **settings)
        for k, loss in enumerate(losses(net, 6)):
            if k == 3:
                state = copy.deepcopy(optimizer.state_dict())
                optimizer = kinds[1](net.parameters(), **settings)
                optimizer.load_state_dict(state)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        ends.append(list(net.parameters()))
    assert all(map(torch.equal, ends[0], ends[1]))
    assert all(map(torch.equal, ends[0], ends[2]))


def test_a_recorder_is_handed_the_step_with_its_gradients() -> None:
    net, heard = network(), []

    class Recorder:
        def call(
            self, function: Callable[[Sequence[Tensor]], None], tensors: Sequence[Tensor]
        ) -> None:
            heard.append((function, list(tensors)))

    optimizer = Sgd(net.parameters(), lr=0.1)
    next(iter(losses(net, 1))).backward()  # type: ignore[no-untyped-call]
    before = [param.detach().clone() for param in net.parameters()]
    token = RECORDER.set(Recorder())
    try:
        optimizer.step()
    finally:
        RECORDER.reset(token)
    assert all(map(torch.equal, before, net.parameters()))  # nothing is done but by the recorder
    [(step, grads)] = heard
    step([torch.ones_like(grad) for grad in grads])
    after = list(net.parameters())
    assert all(torch.equal(old - 0.1, new) for old, new in zip(before, after, strict=True))


def test_a_closure_is_refused() -> None:
    optimizer = Sgd(network().parameters(), lr=0.1)
    with pytest.raises(ValueError, match="a closure was given; a step takes none"):
        optimizer.step(lambda: 0.0)


def test_training_without_a_meta_step_does_not_import_the_compiler_of_pytorch() -> None:
    program = """
import sys, torch
from curvetune.methods.base import descend
from curvetune.methods.shared.optimizers import new_adam, new_sgd
net = torch.nn.Linear(2, 2)
for optimizer in (new_sgd(net.parameters(), lr=0.1), new_adam(net.parameters(), lr=0.1)):
    optimizer.load_state_dict(optimizer.state_dict())
    descend(net(torch.ones(1, 2)).sum(), optimizer)
assert "torch._dynamo" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
