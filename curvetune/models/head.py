"""The last layer of a classifier, and what it sees: for methods that read or replace it."""

from typing import cast

from torch import Tensor, nn


def last_layer(model: nn.Module) -> nn.Module:
    """Return the layer that makes logits, (B, K), of features, (B, D)."""
    return _head(model)[-1]


def replace_last_layer(model: nn.Module, layer: nn.Module) -> None:
    """Put `layer` where `last_layer` was."""
    _head(model)[-1] = layer


def features(model: nn.Module, x: Tensor) -> Tensor:
    """Return what the last layer sees of images, (B, D), in the mode that the model is in."""
    stages = cast(nn.Sequential, model.stages)
    seen: Tensor = _head(model)[:-1](stages[:-1](x))
    return seen


def _head(model: nn.Module) -> nn.Sequential:
    head = cast(nn.Sequential, model.stages)[-1]
    assert isinstance(head, nn.Sequential), "the last stage of a classifier ends in its last layer"
    return head
