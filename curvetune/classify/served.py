"""What MLflow calls to load a classifier that `--log-models` has kept (tracking/sync/models.py).

    model = mlflow.pyfunc.load_model("runs:/RUN/model")
    p = model.predict(images)                      # (N, C, H, W) uint8 -> (N, K)
    model.metadata.metadata["class_names"]         # (K,)

The folder holds JSON and safetensors. Nothing in it is unpickled or run.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file

from curvetune.classify.classifier import Classifier
from curvetune.classify.network import empty_network
from curvetune.config import ModelConfig
from curvetune.config.plugins import check_loaded
from curvetune.errors import CorruptError
from curvetune.store.names import MODEL
from curvetune.training.classifier_facts import ClassifierFacts

DESCRIPTION = "classifier.json"


class Served:
    """A classifier behind MLflow's interface."""

    def __init__(self, classifier: Classifier) -> None:
        self.classifier = classifier

    def predict(
        self, images: NDArray[np.uint8], params: dict[str, Any] | None = None
    ) -> NDArray[np.float32]:
        """Return the probability of each class, (N, K), of raw images, (N, C, H, W)."""
        return self.classifier.predict(np.asarray(images)).probabilities


def _load_pyfunc(path: str) -> Served:
    """Return what MLflow asks; the name is MLflow's.

    Raises:
        ConfigError: the network is of a plugin that is not loaded.
        CorruptError: a file is not what it should be.
    """
    folder = Path(path)
    try:
        stored = json.loads((folder / DESCRIPTION).read_bytes())
        config = ModelConfig.model_validate(stored["model"])
        networks, scale = int(stored["networks"]), stored["cosine_scale"]
        facts = ClassifierFacts.from_json(stored["facts"], f"{folder.name}/{DESCRIPTION}")
        if config.plugin is not None:
            check_loaded(config.plugin, "models", config.name)
        network, times = empty_network(config, networks, scale, facts)
        network.load_state_dict(load_file(folder / MODEL))
        return Served(Classifier(network.eval(), times, facts, str(stored["cell_id"])))
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise CorruptError(f"{folder / DESCRIPTION}: no classifier of curvetune's: {error}") from (
            error
        )
