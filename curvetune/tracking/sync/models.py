"""The final classifier of a cell as a folder that MLflow shows as a model: no pickle in it.

model/MLmodel              what it is, and its signature
model/model.safetensors    its state_dict, for `safetensors.torch.load_file`
model/classifier.json      its network, its classes, and how images are fed to it
model/input_example.json   a small image

`mlflow.pyfunc.load_model` reads it where curvetune is installed (classify/served.py). A result of
an older version does not say how images are fed; its model has the two first files alone.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from safetensors.numpy import save

from curvetune.config.foreign import ForeignCellConfig, read_config
from curvetune.errors import CorruptError
from curvetune.grids.labels import Config
from curvetune.store.arrays import load_arrays
from curvetune.store.names import MODEL
from curvetune.training.classifier_facts import RESULT_KEY

FOLDER = "model"
DESCRIPTION, EXAMPLE = "classifier.json", "input_example.json"
LOADER = "curvetune.classify.served"
EXAMPLE_SIDE = 32  # pixels: of 224 the example would have 600 kB
WEIGHTS = MODEL
IMAGE_DIMS = 4  # of a convolution's weight: the second is the image's channels


def packaged(path: Path, cell_id: str, config: Config, result: Mapping[str, Any]) -> dict[str, Any]:
    """Return the files of a cell's model by name, as bytes.

    Args:
        path: of the cell's model.safetensors.

    Raises:
        CorruptError: it is missing or damaged.
    """
    state = _state_dict(path)
    # in the order of the layers, so the first convolution is the one that sees the image
    channels = next((a.shape[1] for a in state.values() if a.ndim == IMAGE_DIMS), None)
    if channels is None:
        raise CorruptError(f"cell {cell_id}: its classifier has no convolution")
    classes = len(result.get("per_class_accuracy") or ())
    about: dict[str, Any] = {
        "artifact_path": FOLDER,
        "flavors": {
            "curvetune": {
                "data": WEIGHTS,
                "cell_id": cell_id,
                "classifier": config["model"]["name"],
                "method": config["method"]["name"],
                "num_classes": classes,
                "images_normalised_as": config["data"]["name"],
            }
        },
        "signature": {
            "inputs": _tensor(-1, int(channels), -1, -1),
            "outputs": _tensor(-1, classes or -1),
            "params": None,
        },
    }
    served = _served(config, result)
    if served is not None:
        about = _loadable(about, served, int(channels), result)
    contiguous = {name: np.ascontiguousarray(values) for name, values in state.items()}
    more: dict[str, Any] = {}
    if served is not None:
        more = {DESCRIPTION: served, EXAMPLE: _example(served["facts"])}
    return {
        **{f"{FOLDER}/{name}": json.dumps(content).encode() for name, content in more.items()},
        f"{FOLDER}/MLmodel": yaml.safe_dump(about, sort_keys=False).encode(),
        f"{FOLDER}/{WEIGHTS}": save(contiguous, metadata={"format": "pt"}),
    }


def _served(config: Config, result: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what classify/served.py builds a classifier from; None where that is not known."""
    found = read_config(config)
    if RESULT_KEY not in result or isinstance(found, ForeignCellConfig):
        return None
    return {
        "cell_id": result["cell_id"],
        "model": found.model.model_dump(mode="json"),
        "networks": found.method.networks,
        "cosine_scale": found.method.cosine_scale,
        "facts": result[RESULT_KEY],
    }


def _loadable(
    about: Mapping[str, Any], served: Mapping[str, Any], channels: int, result: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what MLmodel says of a model that `mlflow.pyfunc.load_model` reads."""
    names = served["facts"]["class_names"]
    python = {"loader_module": LOADER, "python_version": result["versions"]["python"]}
    return {
        **about,
        "flavors": {"python_function": python, **about["flavors"]},
        "signature": {
            "inputs": _tensor(-1, channels, -1, -1, kind="uint8"),
            "outputs": _tensor(-1, len(names)),
            "params": None,
        },
        "saved_input_example_info": {
            "artifact_path": EXAMPLE,
            "type": "ndarray",
        },
        "metadata": {"class_names": names},
    }


def _example(facts: Mapping[str, Any]) -> list[Any]:
    """Return a small image whose pixels go from black to white, as MLflow writes it."""
    height, width = (min(side, EXAMPLE_SIDE) for side in facts["size"])
    plane = np.linspace(0, facts["white"], height * width).astype(np.uint8).reshape(height, width)
    return [[plane.tolist()] * facts["channels"]]


def _state_dict(path: Path) -> dict[str, Any]:
    """Return the tensors of a stored classifier as arrays, in the order of its layers."""
    arrays, tree = load_arrays(path)
    try:
        (model,) = (content for name, content in tree["state"]["dict"] if name == FOLDER)
        return {name: arrays[content["tensor"]] for name, content in model["dict"]}
    except (KeyError, ValueError, TypeError) as error:
        raise CorruptError(f"{path}: not a classifier ({type(error).__name__})") from None


def _tensor(*shape: int, kind: str = "float32") -> str:
    """Return the schema of one tensor as MLflow writes it; -1 is any size."""
    return json.dumps([{"type": "tensor", "tensor-spec": {"dtype": kind, "shape": list(shape)}}])
