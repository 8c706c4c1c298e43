"""The classifier of a cell, built from its config for the images and classes of a data set."""

import torch
from torch import nn

from curvetune import models
from curvetune.config import ModelConfig
from curvetune.data.source import Dataset


def new_classifier(config: ModelConfig, dataset: Dataset, generator: torch.Generator) -> nn.Module:
    """Return the classifier of `config`, on the CPU, with initial values from `generator`."""
    return models.build(
        config.name,
        dataset.num_classes,
        dataset.train.x.shape[1],
        init=config.init,
        precision=config.precision,
        generator=generator,
    )


def ready_to_train(model: nn.Module, device: torch.device) -> nn.Module:
    """Return `model` on `device`, its parameters laid out as batches of images are."""
    return model.to(device).to(memory_format=torch.channels_last)
