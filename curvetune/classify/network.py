"""The network of a stored classifier, with its values and the last layer of its method."""

from pathlib import Path

import torch
from torch import nn

from curvetune import models
from curvetune.config import MethodConfig, ModelConfig
from curvetune.errors import CorruptError, printable
from curvetune.methods.ldam_drw import CosineLayer
from curvetune.training.checkpoint import load_state
from curvetune.training.classifier import Fed, new_classifier


def stored_network(
    config: ModelConfig, method: MethodConfig | None, fed: Fed, path: Path
) -> tuple[nn.Module, float]:
    """Return the network in `path`, in eval mode, and what its outputs are times to be logits.

    Args:
        method: that made it, since it may have a last layer of its own; None for a probe.

    Raises:
        CorruptError: the file is damaged, or of another classifier.
    """
    networks, cosine = (1, None) if method is None else (method.networks, method.cosine_scale)
    network, scale = empty_network(config, networks, cosine, fed)
    try:
        network.load_state_dict(load_state(path)["model"])
    except (RuntimeError, KeyError, TypeError, AttributeError) as error:
        name = f"{path.parent.name}/{path.name}"
        raise CorruptError(f"{name}: of another classifier ({printable(error)})") from None
    return network.eval(), scale


def empty_network(
    config: ModelConfig, networks: int, cosine_scale: float | None, fed: Fed
) -> tuple[nn.Module, float]:
    """Return a network with the layers of a stored one, and what its outputs are times.

    Args:
        networks: so many, whose mean it is.
        cosine_scale: of a last layer of cosines; None for an ordinary one.
    """

    def new() -> nn.Module:
        # the stored values replace the initial ones
        return new_classifier(config, fed, torch.Generator())

    if networks > 1:
        return models.Ensemble(*(new() for _ in range(networks))), 1.0
    network = new()
    if cosine_scale is None:
        return network, 1.0
    width = models.last_layer(network).in_features
    assert isinstance(width, int)
    models.replace_last_layer(network, CosineLayer(width, fed.num_classes, torch.Generator()))
    return network, cosine_scale
