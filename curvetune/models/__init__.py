"""Classifiers, by name, and CurveNet. Every one of ours has `.stages`, front to back."""

import itertools
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from functools import partial

import torch
from torch import nn

from curvetune.config.networks import TORCHVISION, TORCHVISION_NAMES
from curvetune.config.plugins import PLUGINS
from curvetune.errors import ConfigError
from curvetune.models import of_torchvision
from curvetune.models.curvenet import CurveNet
from curvetune.models.derived import give_stages
from curvetune.models.ensemble import Ensemble
from curvetune.models.head import features, last_layer, replace_last_layer, stages_of
from curvetune.models.precision import use_bfloat16
from curvetune.models.resnet import ResNet
from curvetune.models.wide_resnet import WideResNet
from curvetune.plugins.load import blame

__all__ = [
    "MODELS",
    "CurveNet",
    "Ensemble",
    "build",
    "bytes_of",
    "features",
    "last_layer",
    "replace_last_layer",
    "stages_of",
]

MODELS: dict[str, Callable[[int, int], nn.Module]] = {
    "resnet8": lambda num_classes, in_channels: ResNet(1, num_classes, in_channels),
    "resnet20": lambda num_classes, in_channels: ResNet(3, num_classes, in_channels),
    "resnet32": lambda num_classes, in_channels: ResNet(5, num_classes, in_channels),
    "wrn-16-8": lambda num_classes, in_channels: WideResNet(2, 8, num_classes, in_channels),
}

PRECISIONS = ("float32", "bfloat16", "bfloat16-onednn")


def build(
    name: str,
    num_classes: int,
    in_channels: int = 3,
    *,
    image_size: int = 32,
    init: str = "normal",
    precision: str = "float32",
    generator: torch.Generator | None = None,
) -> nn.Module:
    """Return a freshly initialised classifier with `.stages`, on the CPU, in training mode.

    Args:
        image_size: height and width; only a vision transformer has to know.
        init: `normal`, the released code's: convolutions N(0, 0.02), batch-norm scales
            N(1, 0.02), linear layers He normal; or `kaiming`: He normal throughout.
        precision: `bfloat16` runs the convolutions in 16 bits, under autocast; everything else
            stays float32. `bfloat16-onednn` is faster on a CPU, for our own networks; for others
            it is `bfloat16`.
        generator: source of the initial values; PyTorch's global one if None.

    A network of torchvision or of a plugin has initial values of its own, drawn from a seed that
    `generator` gives; `init` does not matter to it.

    Raises:
        ValueError: there is no such model, initialisation or precision.
    """
    if name in PLUGINS.models:
        made = partial(PLUGINS.models[name].made_by, num_classes, in_channels)
        return _of_others(made, in_channels, image_size, precision, generator)
    if name in TORCHVISION_NAMES:
        short = name.removeprefix(TORCHVISION)
        made = partial(of_torchvision.build, short, num_classes, in_channels, image_size)
        return _of_others(made, in_channels, image_size, precision, generator)
    if name not in MODELS:
        raise ValueError(f"unknown model {name!r}; allowed are {', '.join(MODELS)}")
    if init not in ("normal", "kaiming"):
        raise ValueError(f"unknown init {init!r}; allowed are normal, kaiming")
    if precision not in PRECISIONS:
        raise ValueError(f"unknown precision {precision!r}; allowed are {', '.join(PRECISIONS)}")
    with torch.random.fork_rng(devices=[]):  # PyTorch's own initial values draw from it
        model = MODELS[name](num_classes, in_channels)
    _initialise(model, init, generator)
    if precision != "float32":
        use_bfloat16(model, by_onednn=precision == "bfloat16-onednn")
    return model


def _of_others(
    made: Callable[[], nn.Module],
    in_channels: int,
    image_size: int,
    precision: str,
    generator: torch.Generator | None,
) -> nn.Module:
    """Return a network of somebody else's, with stages if it has any or any can be derived."""
    seed = torch.randint(2**62, (), generator=generator).item()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = made()
        give_stages(model, in_channels, image_size)
    if precision != "float32":
        use_bfloat16(model)
    return model.train()


def bytes_of(name: str, num_classes: int) -> int:
    """Return about how many bytes a network of others takes, of colour images if it takes them.

    Where it can be, it is built without values, so that nothing is drawn or computed for it.

    Raises:
        ConfigError: it cannot be built; with the line of the plugin.
    """
    if name in TORCHVISION_NAMES:
        with torch.random.fork_rng(devices=[]), torch.device("meta"):
            return _bytes(of_torchvision.build(name.removeprefix(TORCHVISION), num_classes, 3, 224))
    network, failed = PLUGINS.models[name], []
    for channels, device in itertools.product((3, 1), ("meta", "cpu")):
        try:
            with (
                torch.random.fork_rng(devices=[]),
                torch.device(device),
                redirect_stdout(sys.stderr),
            ):
                return _bytes(network.made_by(num_classes, channels))
        except Exception as error:  # such as a number that is read off a tensor without values
            failed.append(error)
    first = failed[1]  # on the CPU, as it would be built
    raise ConfigError(
        f"model.name={name}: its build(num_classes={num_classes}, in_channels=3) failed, and with "
        f"in_channels=1 too: {blame(network.ref, first)}; mend that line"
    ) from first


def _bytes(model: nn.Module) -> int:
    return sum(value.numel() * value.element_size() for value in model.state_dict().values())


def _initialise(model: nn.Module, init: str, generator: torch.Generator | None) -> None:
    for module in model.modules():
        if isinstance(module, nn.Conv2d) and init == "normal":
            nn.init.normal_(module.weight, 0.0, 0.02, generator=generator)
        elif isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, generator=generator)
        elif isinstance(module, nn.BatchNorm2d) and init == "normal":
            nn.init.normal_(module.weight, 1.0, 0.02, generator=generator)
        if isinstance(module, nn.Linear):
            nn.init.zeros_(module.bias)
