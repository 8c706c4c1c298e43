"""The final classifier of a cell as a folder that MLflow shows as a model: no pickle in it.

model/MLmodel              what it is, and its signature
model/model.safetensors    its state_dict, for `safetensors.torch.load_file`
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from safetensors.numpy import save

from curvetune.errors import CorruptError
from curvetune.grids.labels import Config
from curvetune.store.arrays import load_arrays
from curvetune.store.names import MODEL

FOLDER = "model"
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
    about = {
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
    contiguous = {name: np.ascontiguousarray(values) for name, values in state.items()}
    return {
        f"{FOLDER}/MLmodel": yaml.safe_dump(about, sort_keys=False).encode(),
        f"{FOLDER}/{WEIGHTS}": save(contiguous, metadata={"format": "pt"}),
    }


def _state_dict(path: Path) -> dict[str, Any]:
    """Return the tensors of a stored classifier as arrays, in the order of its layers."""
    arrays, tree = load_arrays(path)
    try:
        (model,) = (content for name, content in tree["state"]["dict"] if name == FOLDER)
        return {name: arrays[content["tensor"]] for name, content in model["dict"]}
    except (KeyError, ValueError, TypeError) as error:
        raise CorruptError(f"{path}: not a classifier ({type(error).__name__})") from None


def _tensor(*shape: int) -> str:
    """Return the schema of one float32 tensor as MLflow writes it; -1 is any size."""
    return json.dumps(
        [{"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": list(shape)}}]
    )
