"""The classifier of a cell, built from its config for the images and classes of a data set."""

from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

import torch
from torch import nn

from curvetune import models
from curvetune.config import CellConfig, ModelConfig
from curvetune.config.networks import MODEL_NAMES
from curvetune.data.recipe import cropped
from curvetune.data.source import Dataset
from curvetune.errors import ConfigError, CurvetuneError
from curvetune.plugins.blame import said
from curvetune.plugins.load import blame
from curvetune.training.weights import load_weights


class Fed(Protocol):
    """What decides the shape of a classifier: a data set, or what is recorded of one."""

    @property
    def num_classes(self) -> int:
        """K."""
        ...

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of what a classifier sees."""
        ...


def new_classifier(config: ModelConfig, fed: Fed, generator: torch.Generator) -> nn.Module:
    """Return the classifier of `config`, on the CPU, with initial values from `generator`."""
    channels, height, width = fed.input_shape
    return models.build(
        config.name,
        fed.num_classes,
        channels,
        image_size=max(height, width),
        init=config.init,
        precision=config.precision,
        generator=generator,
    )


def first_classifier(
    config: ModelConfig, dataset: Dataset, generator: torch.Generator
) -> nn.Module:
    """Return the classifier that training starts from: a new one, or with weights from a file.

    Raises:
        ConfigError: the weights cannot be read, or are of another network.
    """
    model = new_classifier(config, dataset, generator)
    if config.weights is not None:
        load_weights(model, Path(config.weights), config.weights_digest)
    return model


def ready_to_train(model: nn.Module, device: torch.device) -> nn.Module:
    """Return `model` on `device`, its parameters laid out as batches of images are."""
    return model.to(device).to(memory_format=torch.channels_last)


def check_classifiers(cells: Iterable[CellConfig], dataset: Dataset) -> None:
    """Refuse networks that cannot train on the images, before anything is trained.

    Ours can, so only others are built, each once.

    Raises:
        ConfigError: one cannot be built, its weights are not its own, or it lacks stages that a
            method freezes.
    """
    frozen: dict[tuple[ModelConfig, int | None], int] = {}
    for cell in cells:
        if cell.model.name not in MODEL_NAMES or cell.model.weights is not None:
            key = cell.model, cell.data.crop_size
            frozen[key] = max(frozen.get(key, 0), cell.method.frozen_stages)
    for (config, crop_size), most in frozen.items():
        stages = getattr(_built(config, cropped(dataset, crop_size)), "stages", ())
        if most and most >= len(stages):
            has = f"{len(stages)} stages" if len(stages) else "no .stages, and none can be derived"
            raise ConfigError(
                f"method.skip_layers={most}: {config.name} has {has}; allowed is less than it has "
                f"stages, and 0 freezes none"
            )


def _built(config: ModelConfig, dataset: Dataset) -> nn.Module:
    try:
        return first_classifier(config, dataset, torch.Generator())
    except CurvetuneError:
        raise
    except Exception as error:  # of others' code
        what = said(error) if config.plugin is None else blame(config.plugin, error)
        shape = "×".join(map(str, dataset.input_shape))
        raise ConfigError(
            f"model.name={config.name}: cannot be built for images of {shape}: {what}; choose "
            f"another network or another size of images"
        ) from error
