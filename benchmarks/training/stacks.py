"""Training steps of several cells: one network after another, or all as one. Used by many_cells.py.

The networks are of one kind, each with weights and batches of its own. `Separate` makes one step
after the other; `Vmapped` and `Grouped` make the same steps of all networks at once, up to rounding
(`difference` checks it):

    vmap     torch.func.stack_module_state and vmap over the forward pass; autograd and SGD work on
             the stacked parameters. The statistics of batch norm are stacked too, so vmap may
             update them in place.
    grouped  one network whose channels are those of all cells: convolutions with a group for each
             cell, batch norm over all channels (it knows no neighbours), the last layer a batched
             matrix product. Needs no vmap.
"""

import copy
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from curvetune.models.resnet import Block, ResNet

LR, MOMENTUM, WEIGHT_DECAY = 0.1, 0.9, 5e-4  # of the probe, curvetune/config/training.py

Batches = Sequence[tuple[Tensor, Tensor]]  # of each cell: images (B, C, H, W), labels (B,)
Values = dict[str, Tensor]  # parameters and statistics of one network, by their names in it


class Stack(Protocol):
    """Networks of several cells, and their training."""

    def step(self, batches: Batches) -> Tensor:
        """Take one SGD step of each network; return the losses, (cells, B)."""
        ...

    def values(self) -> list[Values]:
        """Return what training changed, for each cell."""
        ...


class Separate:
    """Each network makes a step of its own, as curvetune's cells do."""

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        self._networks = networks
        self._optimizers = [sgd(list(network.parameters())) for network in networks]

    def step(self, batches: Batches) -> Tensor:
        """Take one SGD step of each network; return the losses, (cells, B)."""
        losses = []
        for network, optimizer, (x, y) in zip(
            self._networks, self._optimizers, batches, strict=True
        ):
            losses.append(F.cross_entropy(network(x), y, reduction="none"))
            descend(losses[-1].mean(), optimizer)
        return torch.stack(losses).detach()

    def values(self) -> list[Values]:
        """Return what training changed, for each cell."""
        return [dict(network.state_dict()) for network in self._networks]


class Vmapped:
    """One network on stacked parameters, by `vmap`."""

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        self._cells = len(networks)
        self._params, self._buffers = stack_module_state(list(networks))
        self._optimizer = sgd(list(self._params.values()))
        self._losses = vmap(partial(_losses, _without_values(networks[0])))

    def step(self, batches: Batches) -> Tensor:
        """Take one SGD step of each network; return the losses, (cells, B)."""
        x, y = (torch.stack(tensors) for tensors in zip(*batches, strict=True))
        losses: Tensor = self._losses(self._params, self._buffers, x, y)
        descend(losses.mean(1).sum(), self._optimizer)
        return losses.detach()

    def values(self) -> list[Values]:
        """Return what training changed, for each cell."""
        stacked = {**self._params, **self._buffers}
        return [{name: v.detach()[k] for name, v in stacked.items()} for k in range(self._cells)]


class Grouped:
    """One network with the channels of all, in the given memory format."""

    def __init__(self, networks: Sequence[nn.Module], layout: torch.memory_format) -> None:
        self._cells, self._layout = len(networks), layout
        self._network = joined(list(networks)).to(memory_format=layout)
        self._optimizer = sgd(list(self._network.parameters()))

    def step(self, batches: Batches) -> Tensor:
        """Take one SGD step of each network; return the losses, (cells, B)."""
        x = torch.cat([x for x, _ in batches], 1).contiguous(memory_format=self._layout)
        y = torch.cat([y for _, y in batches])
        logits = self._network(x)  # (cells, B, K)
        losses = F.cross_entropy(logits.flatten(0, 1), y, reduction="none").view(self._cells, -1)
        descend(losses.mean(1).sum(), self._optimizer)
        return losses.detach()

    def values(self) -> list[Values]:
        """Return what training changed, for each cell."""
        parts = {name: self._parts(v) for name, v in self._network.state_dict().items()}
        return [{name: part[k] for name, part in parts.items()} for k in range(self._cells)]

    def _parts(self, value: Tensor) -> Sequence[Tensor]:
        """Return a value of each cell: a part of the channels, or the steps so far, (), of all."""
        return value.chunk(self._cells) if value.dim() else [value] * self._cells


SEPARATE = "separate"
STACKS: dict[str, Callable[[Sequence[nn.Module]], Stack]] = {
    SEPARATE: Separate,
    "vmap": Vmapped,
    "grouped": partial(Grouped, layout=torch.contiguous_format),
    "grouped, channels-last": partial(Grouped, layout=torch.channels_last),
}


def sgd(params: list[Tensor]) -> torch.optim.SGD:
    """Return the optimizer of `curvetune.methods.base.sgd`, which needs pydantic to import."""
    on_gpu = params[0].device.type == "cuda"
    return torch.optim.SGD(
        params,
        lr=torch.tensor(LR, device=params[0].device) if on_gpu else LR,
        fused=True if on_gpu else None,
        momentum=MOMENTUM,
        nesterov=True,
        weight_decay=WEIGHT_DECAY,
    )


def descend(loss: Tensor, optimizer: torch.optim.Optimizer) -> None:
    """Take one step down the gradient of a 0-d loss."""
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()


def difference(found: Stack, expected: Stack, batches: Batches, steps: int) -> float:
    """Return the relative difference of two stacks after `steps` steps of each.

    That of the losses of the last step, or of all parameters and statistics together if larger.
    """
    for _ in range(steps):
        losses, others = found.step(batches), expected.step(batches)
    all_found, all_others = [], []
    for values, other in zip(found.values(), expected.values(), strict=True):
        names = [name for name, value in other.items() if value.is_floating_point()]
        all_found += [values[name].flatten() for name in names]
        all_others += [other[name].flatten() for name in names]
    pairs = [(losses, others), (torch.cat(all_found), torch.cat(all_others))]
    return max(float((a - b).norm() / b.norm()) for a, b in pairs)


def _losses(template: nn.Module, params: Values, buffers: Values, x: Tensor, y: Tensor) -> Tensor:
    """Return the losses, (B,), of one cell."""
    logits = functional_call(template, (params, buffers), (x,))
    return F.cross_entropy(logits, y, reduction="none")


def _without_values(network: nn.Module) -> nn.Module:
    """Return a copy for `functional_call`, with a pooling that vmap need not do cell by cell."""
    template = copy.deepcopy(network).to("meta")
    cast(nn.Sequential, cast(nn.Sequential, template.stages)[-1])[0] = _Mean()
    return template


def joined(modules: list[nn.Module]) -> nn.Module:
    """Return one module that does for (B, cells·C, …) what each of `modules` does for (B, C, …).

    Raises:
        TypeError: there is no such module in `curvetune.models.resnet`.
    """
    first = modules[0]
    if isinstance(first, ResNet):
        return nn.Sequential(OrderedDict(stages=joined(_each(modules, "stages"))))
    if isinstance(first, nn.Sequential):
        names = [name for name, _ in first.named_children()]
        return nn.Sequential(OrderedDict((n, joined(_each(modules, n))) for n in names))
    if isinstance(first, Block):
        return _JoinedBlock(modules)
    if isinstance(first, nn.Conv2d | nn.BatchNorm2d):
        return _wider(first, modules)
    if isinstance(first, nn.Linear):
        return _JoinedLinear(modules)
    if isinstance(first, nn.ReLU | nn.AdaptiveAvgPool2d | nn.Flatten):
        return copy.deepcopy(first)
    raise TypeError(f"cannot join modules of type {type(first).__name__}; add it to `joined`")


def _each(modules: list[nn.Module], name: str) -> list[nn.Module]:
    return [module.get_submodule(name) for module in modules]


def _cat(modules: list[nn.Module], name: str) -> Tensor:
    return torch.cat([cast(Tensor, getattr(module, name)).detach() for module in modules])


def _wider(first: nn.Conv2d | nn.BatchNorm2d, modules: list[nn.Module]) -> nn.Module:
    """Return a convolution with a group for each of `modules`, or batch norm of all channels."""
    wide = copy.deepcopy(first)
    wide.weight = nn.Parameter(_cat(modules, "weight"))
    if isinstance(wide, nn.Conv2d):
        wide.groups = len(modules)
        return wide
    wide.bias = nn.Parameter(_cat(modules, "bias"))
    wide.running_mean, wide.running_var = (
        _cat(modules, "running_mean"),
        _cat(modules, "running_var"),
    )
    return wide


class _Mean(nn.Module):
    """(B, C, H, W) → (B, C)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))


class _JoinedLinear(nn.Module):
    """The last layers of all cells: features (B, cells·D) → logits (cells, B, K)."""

    def __init__(self, layers: list[nn.Module]) -> None:
        super().__init__()
        self.cells = len(layers)
        self.weight = nn.Parameter(_cat(layers, "weight"))  # (cells·K, D)
        self.bias = nn.Parameter(_cat(layers, "bias"))  # (cells·K,)

    def forward(self, x: Tensor) -> Tensor:
        features = torch.unflatten(x, 1, (self.cells, -1)).transpose(0, 1)  # (cells, B, D)
        weight = torch.unflatten(self.weight, 0, (self.cells, -1)).transpose(1, 2)  # (cells, D, K)
        return torch.baddbmm(self.bias.view(self.cells, 1, -1), features, weight)


class _JoinedBlock(nn.Module):
    """`Block` of all cells; new channels are added on both sides of each cell's own."""

    def __init__(self, blocks: list[nn.Module]) -> None:
        super().__init__()
        first = cast(Block, blocks[0])
        self.cells, self.stride, self.new_channels = len(blocks), first.stride, first.new_channels
        self.conv1, self.bn1, self.conv2, self.bn2 = (
            joined(_each(blocks, name)) for name in ("conv1", "bn1", "conv2", "bn2")
        )

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(out)) + self._shortcut(x))

    def _shortcut(self, x: Tensor) -> Tensor:
        if self.stride == 1 and self.new_channels == 0:
            return x
        half = self.new_channels // 2
        x = F.avg_pool2d(x, 1, self.stride)
        if x.is_contiguous():
            x = torch.unflatten(x, 1, (self.cells, -1))
            return F.pad(x, (0, 0, 0, 0, half, self.new_channels - half)).flatten(1, 2)
        x = torch.unflatten(x.permute(0, 2, 3, 1), -1, (self.cells, -1))  # no copy in channels-last
        return F.pad(x, (half, self.new_channels - half)).flatten(-2).permute(0, 3, 1, 2)
