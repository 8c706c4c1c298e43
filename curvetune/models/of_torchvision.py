"""torchvision's classifiers, for images of any size and number of channels.

Their initial values are torchvision's own, drawn from PyTorch's global generator: the caller seeds
it. A first convolution over three channels is made anew for another number.
"""

import inspect
from typing import Any

from torch import nn


def build(name: str, num_classes: int, in_channels: int, image_size: int) -> nn.Module:
    """Return a classifier that torchvision calls `name`, in training mode.

    Args:
        image_size: height and width; a vision transformer is built for it.

    Raises:
        ValueError: a vision transformer cannot divide images of this size into its patches.
    """
    import torchvision

    builder = torchvision.models.get_model_builder(name)
    options: dict[str, Any] = {"weights": None, "num_classes": num_classes}
    if name in ("googlenet", "inception_v3"):
        options |= {"aux_logits": False, "init_weights": True}
    if name.startswith(("vit_", "maxvit")):
        _check_size(name, image_size)
        options["input_size" if name.startswith("maxvit") else "image_size"] = (
            (image_size, image_size) if name.startswith("maxvit") else image_size
        )
    model: nn.Module = builder(**options)
    if in_channels != 3:
        _replace_first(model, in_channels)
    return model.train()


def _check_size(name: str, image_size: int) -> None:
    patch = 32 if name.startswith("maxvit") else int(name.rpartition("_")[2])
    if image_size % patch:
        raise ValueError(
            f"torchvision/{name} divides images into patches of {patch}; images of {image_size} "
            f"do not fit: take a multiple, for instance --set image_size={patch * 7}"
        )


def _replace_first(model: nn.Module, in_channels: int) -> None:
    """Let the first convolution of `model` take so many channels."""
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d):
            options = {
                key: getattr(module, key)
                for key in inspect.signature(nn.Conv2d).parameters
                if hasattr(module, key) and key not in ("in_channels", "bias", "device", "dtype")
            }
            first = nn.Conv2d(in_channels, **options, bias=module.bias is not None)
            parent, _, last = name.rpartition(".")
            setattr(model.get_submodule(parent), last, first)
            return
