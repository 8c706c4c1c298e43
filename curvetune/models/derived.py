"""The stages of a network that has none: its parts in order, if they are the whole of it.

Several methods read a classifier's parts: `skip_layers` freezes the first, others read what the
last layer sees. A network of somebody else's often is a chain of its children all the same, such as
torchvision's ResNet with its flattening before the last layer.
"""

from itertools import groupby

import torch
from torch import Tensor, nn

FEW = 3  # parts with parameters before the head; where there are fewer, a long one is taken apart
UNFIT = (RuntimeError, TypeError, ValueError, NotImplementedError, AssertionError)


def give_stages(model: nn.Module, in_channels: int, image_size: int = 32) -> None:
    """Give `model` the stages that its children make up, if it has none and they do.

    They are no submodule of it, so that its parameters keep their names.
    """
    if hasattr(model, "stages"):
        return
    found = derive_stages(model, in_channels, image_size)
    if found is not None:
        model.__dict__["stages"] = found


def derive_stages(model: nn.Module, in_channels: int, image_size: int) -> nn.Sequential | None:
    """Return the children of `model` in order, if together they compute what it does.

    The last stage is all that comes after the last layers whose output is an image; it ends in the
    last layer. None if they compute something else, or do not fit together.
    """
    parts = _parts(model)
    if len(parts) < 2 or not isinstance(parts[-1], nn.Linear):
        return None
    x = torch.randn(2, in_channels, image_size, image_size)
    training = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad():
            expected = model(x)
            for k in range(len(parts), 0, -1):  # where it flattens, if anywhere
                flat = [] if k == len(parts) else [nn.Flatten(1)]
                stages = _stages([*parts[:k], *flat, *parts[k:]], x)
                if stages is not None and torch.equal(stages(x), expected):
                    return stages
    except UNFIT:  # it wants other images than these, or its children do not fit together
        return None
    finally:
        for module, mode in training:
            module.train(mode)
    return None


def _parts(model: nn.Module) -> list[nn.Module]:
    """Return the children of `model`, those at the end, and of few, one by one."""
    parts = list(model.children())
    while parts and isinstance(parts[-1], nn.Sequential):
        parts[-1:] = list(parts[-1].children())
    if sum(bool(list(part.parameters())) for part in parts[:-1]) < FEW:
        taken = [list(p.children()) if isinstance(p, nn.Sequential) else [p] for p in parts]
        parts = [part for group in taken for part in group]
    return parts


def _stages(parts: list[nn.Module], x: Tensor) -> nn.Sequential | None:
    """Return parts in a chain, those behind the last image that layers make as one stage."""
    last = -1
    for k, part in enumerate(parts):
        try:
            x = part(x)
        except UNFIT:
            return None
        if x.dim() == 4 and list(part.parameters()):
            last = k
    if not 0 <= last < len(parts) - 1:
        return None
    return nn.Sequential(*_grouped(parts[: last + 1]), nn.Sequential(*parts[last + 1 :]))


def _grouped(parts: list[nn.Module]) -> list[nn.Module]:
    """Return parts with single layers that follow each other as one: a stem, for instance."""
    groups: list[nn.Module] = []
    for is_layer, some in groupby(parts, lambda part: not list(part.children())):
        run = list(some)
        groups += [nn.Sequential(*run)] if is_layer and len(run) > 1 else run
    return groups
