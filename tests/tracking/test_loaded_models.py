"""Classifiers that are loaded out of a real MLflow server by a fresh process."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from tracking_helpers import mlflow_server, new_tracker, runs_of
from trained_grid import GRID, train_grid

from curvetune import data
from curvetune.classify import classifier_of
from curvetune.classify.served import _load_pyfunc
from curvetune.errors import CorruptError
from curvetune.store import CellStore
from curvetune.tracking.sync.models import packaged
from curvetune.tracking.sync.thread import sync

METHODS = ({"name": "cross-entropy"}, {"name": "ldam-drw"})
ASK = """
import json, sys
import mlflow, numpy
images = numpy.load(sys.argv[1])
said = {}
for uri in sys.argv[2:]:
    model = mlflow.pyfunc.load_model(uri)
    said[uri] = [model.predict(images).tolist(), model.metadata.metadata["class_names"]]
example = model.metadata.load_input_example(sys.argv[-1])
said["example"] = [str(example.dtype), list(example.shape), list(model.predict(example).shape)]
json.dump(said, open(sys.argv[1] + ".json", "w"))
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("trained")
    train_grid(root, methods=METHODS, rates=(0.0,))
    return root


@pytest.fixture(scope="module")
def server(trained: Path) -> Iterator[str]:
    with mlflow_server(trained) as port:
        uri = f"http://127.0.0.1:{port}"
        sync(trained, GRID, new_tracker(trained, uri), log_models=True)
        yield uri


@pytest.mark.slow
def test_a_fresh_process_loads_a_model_by_its_run_and_by_its_name_and_predicts(
    trained: Path, server: str, tmp_path: Path
) -> None:
    from mlflow import MlflowClient

    runs = {
        run.data.tags["curvetune.cell_id"]: run.info.run_id
        for name, run in runs_of(trained, GRID, server).items()
        if "seed" in name
    }
    uris = {cell: f"runs:/{run}/model" for cell, run in runs.items()}
    client = MlflowClient(server)
    client.create_registered_model("digits")
    first = next(iter(uris))
    source = f"{client.get_run(runs[first]).info.artifact_uri}/model"
    client.create_model_version("digits", source, runs[first])
    images = data.load("digits").test.x[::25]
    np.save(tmp_path / "images.npy", images)
    command = [sys.executable, "-W", "ignore", "-c", ASK, str(tmp_path / "images.npy")]
    done = subprocess.run(
        [*command, *uris.values(), "models:/digits/1"],
        env=os.environ | {"MLFLOW_TRACKING_URI": server},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said = json.loads((tmp_path / "images.npy.json").read_text())
    names = [str(k) for k in range(10)]
    assert len(uris) == 2
    for cell, uri in (*uris.items(), (first, "models:/digits/1")):
        wanted = classifier_of(trained, cell).predict(images).probabilities
        assert np.allclose(said[uri][0], wanted, atol=1e-6)
        assert said[uri][1] == names
    assert said["example"] == ["uint8", [1, 1, 8, 8], [1, 10]]


def files_of(trained: Path, **without: Any) -> dict[str, bytes]:
    (cell_id,) = [p.name for p in (trained / "cells").iterdir()][:1]
    store = CellStore(trained)
    config = json.loads((store.folder(cell_id) / "config.json").read_text())
    config.pop("data_digest")
    result = {k: v for k, v in (store.result(cell_id) or {}).items() if k not in without}
    return packaged(store.folder(cell_id) / "model.safetensors", cell_id, config, result)


def test_a_result_of_an_older_version_keeps_the_flavour_that_it_had(trained: Path) -> None:
    old, new = files_of(trained, classifier=None), files_of(trained)
    assert set(old) == {"model/MLmodel", "model/model.safetensors"}
    assert set(new) == {*old, "model/classifier.json", "model/input_example.json"}
    flavours = [set(yaml.safe_load(files["model/MLmodel"])["flavors"]) for files in (old, new)]
    assert flavours == [{"curvetune"}, {"curvetune", "python_function"}]


def test_a_damaged_model_is_refused_when_it_is_loaded(trained: Path, tmp_path: Path) -> None:
    for name, content in files_of(trained).items():
        (tmp_path / Path(name).name).write_bytes(content)
    assert _load_pyfunc(str(tmp_path)).classifier.class_names[3] == "3"
    (tmp_path / "classifier.json").write_text("{}")
    with pytest.raises(CorruptError, match="no classifier of curvetune's"):
        _load_pyfunc(str(tmp_path))
