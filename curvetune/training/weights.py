"""Starting a classifier from a file of weights, such as those that torchvision publishes."""

import hashlib
import io
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from torch import Tensor, nn

from curvetune.errors import ConfigError, printable


def load_weights(model: nn.Module, path: Path, digest: str | None) -> None:
    """Give `model` the weights of a file; a last layer for other classes keeps its own.

    Nothing in the file is run: .safetensors, or a dict of tensors that `torch.save` wrote.

    Args:
        digest: of the content that it has to have; any if None.

    Raises:
        ConfigError: it cannot be read, is another file than it was, or is of another network.
    """
    stored = _read(path, digest)
    own = model.state_dict()
    differing = {k for k in own.keys() & stored if own[k].shape != stored[k].shape}
    last = _last_layer(own)
    lacking = own.keys() - stored.keys() - _counters(own)
    unknown = stored.keys() - own.keys()
    wrong = sorted((differing | lacking | unknown) - last)
    if wrong:
        raise _refused(
            path,
            f"are of another network: {_words(wrong[0], own, stored)}"
            f"{f', and {len(wrong) - 1} more' if len(wrong) > 1 else ''}",
        )
    kept = {key: value for key, value in stored.items() if key not in differing and key in own}
    model.load_state_dict({**own, **kept})


def _read(path: Path, digest: str | None) -> Mapping[str, Tensor]:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise _refused(path, f"cannot be read ({error.strerror})") from None
    found = hashlib.sha256(content).hexdigest()[:16]
    if digest is not None and found != digest:
        raise _refused(path, f"have changed since the grid was planned ({found}, not {digest})")
    try:
        if path.suffix == ".safetensors":
            return load_safetensors(content)
        stored: Any = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except (SafetensorError, RuntimeError, EOFError, KeyError, pickle.UnpicklingError) as error:
        said = printable(str(error).splitlines()[0] if str(error) else type(error).__name__)
        raise _refused(path, f"are no plain tensors ({said})") from None
    if isinstance(stored, Mapping) and isinstance(stored.get("state_dict"), Mapping):
        stored = stored["state_dict"]  # as many training scripts save it
    if not isinstance(stored, Mapping) or not all(isinstance(v, Tensor) for v in stored.values()):
        raise _refused(path, f"are a {type(stored).__name__}, and no dict of tensors")
    return {str(key).removeprefix("module."): value for key, value in stored.items()}


def _last_layer(own: Mapping[str, Tensor]) -> set[str]:
    """Return the names of the last layer's weight and bias."""
    (name,) = list(own)[-1:]
    layer = name.rpartition(".")[0]
    return {key for key in own if key.rpartition(".")[0] == layer}


def _counters(own: Mapping[str, Tensor]) -> set[str]:
    """Return batch norm's counters of batches, which older files lack."""
    return {key for key in own if key.endswith("num_batches_tracked")}


def _words(key: str, own: Mapping[str, Tensor], stored: Mapping[str, Tensor]) -> str:
    if key not in stored:
        return f"{key} is missing"
    if key not in own:
        return f"{printable(key)} is unknown"
    return f"{key} is {tuple(stored[key].shape)}, not {tuple(own[key].shape)}"


def _refused(path: Path, what: str) -> ConfigError:
    return ConfigError(
        f"model.weights: {path} {what}; allowed is a .safetensors file, or a dict of tensors by "
        f"torch.save, of the network that model.name says"
    )
