"""The stages of a network that has none: its parts in order, if they are the whole of it.

Several methods read a classifier's parts: `skip_layers` freezes the first, others read what the
last layer sees. A network of somebody else's often is a chain of its children all the same, such as
torchvision's ResNet with its flattening before the last layer.
"""

from typing import cast

import torch
from torch import nn

SIZE = 32  # height and width of the images that are tried


def give_stages(model: nn.Module, in_channels: int) -> None:
    """Give `model` the stages that its children make up, if it has none and they do.

    They are no submodule of it, so that its parameters keep their names.
    """
    if hasattr(model, "stages"):
        return
    found = derive_stages(model, in_channels)
    if found is not None:
        model.__dict__["stages"] = found


def derive_stages(model: nn.Module, in_channels: int) -> nn.Sequential | None:
    """Return the children of `model` in order, if together they compute what it does.

    The last stage is everything from the last layer that keeps an image's height on, so that it
    ends in the last layer. None if they compute something else, or do not fit together.
    """
    children = list(model.children())
    if len(children) < 2 or not isinstance(children[-1], nn.Linear):
        return None
    x = torch.randn(2, in_channels, SIZE, SIZE)
    training = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad():
            expected = model(x)
            for flat in (False, True):
                head = [nn.Flatten(1), children[-1]] if flat else [children[-1]]
                stages = _stages([*children[:-1], *head], x)
                if stages is not None and torch.equal(stages(x), expected):
                    return stages
    except (RuntimeError, TypeError, ValueError, NotImplementedError):
        return None  # it wants other images than these, or its children do not fit together
    finally:
        for module, mode in training:
            module.train(mode)
    return None


def _stages(parts: list[nn.Module], x: torch.Tensor) -> nn.Sequential | None:
    """Return parts in a chain, what comes after the last image with a height as one stage."""
    dims = []
    for part in parts:
        try:
            x = part(x)
        except (RuntimeError, TypeError, ValueError, NotImplementedError):
            return None
        dims.append(x.dim() == 4 and x.shape[-1] > 1)
    last = max((k for k, is_map in enumerate(dims) if is_map), default=0)
    head = nn.Sequential(*parts[last + 1 :])
    return nn.Sequential(*parts[: last + 1], cast(nn.Module, head)) if len(head) else None
