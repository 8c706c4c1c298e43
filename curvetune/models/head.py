"""The parts of a classifier, and what its last layer sees: for methods that need them."""

import torch
from torch import Tensor, nn

from curvetune.errors import ConfigError


def stages_of(model: nn.Module) -> nn.Sequential:
    """Return the stages of a classifier, front to back.

    Raises:
        ConfigError: it has none.
    """
    stages = getattr(model, "stages", None)
    if not isinstance(stages, nn.Sequential):
        raise ConfigError(
            f"the method reads the stages of the classifier, and {type(model).__name__} has none; "
            f"give it .stages, an nn.Sequential that is the whole network and ends in its last "
            f"layer, or take another method"
        )
    return stages


def last_layer(model: nn.Module) -> nn.Module:
    """Return the layer that makes logits, (B, K), of features, (B, D)."""
    return _head(model)[-1]


def replace_last_layer(model: nn.Module, layer: nn.Module) -> None:
    """Put `layer` where `last_layer` was."""
    head = _head(model)
    before = head[-1]
    head[-1] = layer
    for parent in list(model.modules()):  # where the stages are derived, it has a name beside them
        for name, child in list(parent.named_children()):
            if child is before:
                setattr(parent, name, layer)


def features(model: nn.Module, x: Tensor) -> Tensor:
    """Return what the last layer sees of images, (B, D), in the mode that the model is in."""
    images: Tensor = stages_of(model)[:-1](x)
    if images.dtype == torch.bfloat16:  # the last stage is in 32 bits
        images = images.float()
    seen: Tensor = _head(model)[:-1](images)
    return seen


def _head(model: nn.Module) -> nn.Sequential:
    head = stages_of(model)[-1]
    if not isinstance(head, nn.Sequential):
        raise ConfigError(
            f"the last stage of {type(model).__name__} is {type(head).__name__}; the method needs "
            f"an nn.Sequential there that ends in the last layer"
        )
    return head
