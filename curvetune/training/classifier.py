"""The classifier of a cell, built from its config for the images and classes of a data set."""

from pathlib import Path

import torch
from torch import nn

from curvetune import models
from curvetune.config import ModelConfig
from curvetune.data.source import Dataset
from curvetune.training.weights import load_weights


def new_classifier(config: ModelConfig, dataset: Dataset, generator: torch.Generator) -> nn.Module:
    """Return the classifier of `config`, on the CPU, with initial values from `generator`.

    Raises:
        ConfigError: its weights cannot be read, or are of another network.
    """
    channels, height, width = dataset.train.x.shape[1:]
    model = models.build(
        config.name,
        dataset.num_classes,
        channels,
        image_size=max(height, width),
        init=config.init,
        precision=config.precision,
        generator=generator,
    )
    if config.weights is not None:
        load_weights(model, Path(config.weights), config.weights_digest)
    return model


def ready_to_train(model: nn.Module, device: torch.device) -> nn.Module:
    """Return `model` on `device`, its parameters laid out as batches of images are."""
    return model.to(device).to(memory_format=torch.channels_last)
