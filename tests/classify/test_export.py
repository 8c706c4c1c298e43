"""Exported classifiers, loaded by a process that has neither curvetune nor what networks are of."""

import io
import json
import pickletools
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from image_folder import encoded, picture
from PIL import Image
from torch import nn
from typer.testing import CliRunner

from curvetune import models
from curvetune.classify import Classifier, classifier_of, exported
from curvetune.classify.export import export_classifier
from curvetune.classify.raw import read_picture
from curvetune.cli import app
from curvetune.errors import ConfigError
from curvetune.training.classifier_facts import ClassifierFacts

ABSENT = ("curvetune", "ray", "mlflow", "torchvision", "sklearn", "polars", "pydantic")
ASK = f"""
import importlib.util, sys
for name in {ABSENT}:
    sys.modules[name] = None  # so that importing it fails
import numpy, torch
for folder in sys.argv[1:]:
    spec = importlib.util.spec_from_file_location("classifier", folder + "/out/classifier.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    classifier = module.Classifier()
    images = torch.from_numpy(numpy.load(folder + "/images.npy"))
    numpy.save(folder + "/said.npy", classifier(images).numpy())
    print(classifier.facts["class_names"])
"""


def facts(channels: int = 3, size: int = 36, crop: int | None = 32) -> ClassifierFacts:
    return ClassifierFacts(
        class_names=("ant", "bee", "café"),
        channels=channels,
        size=(size, size),
        crop=crop,
        mean=(100.0,) * channels,
        std=(50.0,) * channels,
        white=255,
    )


def made(name: str, precision: str = "float32", **more: Any) -> Classifier:
    of = facts(**more)
    generator = torch.Generator().manual_seed(3)
    channels, _, size = of.input_shape
    network = models.build(
        name, 3, channels, image_size=size, precision=precision, generator=generator
    )
    return Classifier(network.eval(), 1.0, of, "0" * 16)


class Odd(nn.Module):
    """A network that nobody has: its values are no parameters, and its last layer is scaled."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("basis", torch.randn(3, 32 * 32 * 1))
        self.layer = nn.Linear(3, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x.flatten(1) @ self.basis.T / 100)


def test_any_network_says_the_same_where_there_is_neither_curvetune_nor_its_own_code(
    tmp_path: Path,
) -> None:
    classifiers = {
        "ours": made("resnet8", "bfloat16-onednn"),
        "torchvision": made("torchvision/resnet18"),
        "plugin": Classifier(Odd().eval(), 16.0, facts(1, 32, None), "0" * 16),
    }
    for name, classifier in classifiers.items():
        of, folder = classifier.facts, tmp_path / name
        export_classifier(classifier, folder / "out")
        shape = (5, of.channels, *of.size)
        images = np.random.default_rng(0).integers(256, size=shape, dtype=np.uint8)
        np.save(folder / "images.npy", images)
    folders = [str(tmp_path / name) for name in classifiers]
    command = [sys.executable, "-I", "-W", "ignore", "-c", ASK, *folders]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["['ant', 'bee', 'café']"] * 3
    for name, classifier in classifiers.items():
        said = np.load(tmp_path / name / "said.npy")
        images = np.load(tmp_path / name / "images.npy")
        assert np.allclose(said, classifier.predict(images).probabilities, atol=1e-5)
        assert np.ptp(said, axis=0).max() > 1e-6  # not the same for all


def test_the_loader_names_what_is_on_a_picture(tmp_path: Path) -> None:
    classifier = Classifier(Odd().eval(), 16.0, facts(1, 32, None), "0" * 16)
    export_classifier(classifier, tmp_path / "out")
    path = tmp_path / "one.png"
    path.write_bytes(encoded(picture(1)))
    loaded = exported.Classifier(tmp_path / "out")
    said = loaded(loaded.open(path)).numpy()
    assert np.allclose(said, classifier.predict(path).probabilities, atol=1e-5)


def test_no_file_of_an_export_is_a_pickle_and_all_facts_are_plain(tmp_path: Path) -> None:
    classifier = made("resnet8")
    files = export_classifier(classifier, tmp_path / "out")
    names = ["classifier.json", "classifier.py", "model.safetensors", "network.py"]
    assert [file.name for file in files] == names
    for file in files:
        with pytest.raises(ValueError, match=r"opcode|pickle"):
            pickletools.dis(file.read_bytes(), out=io.StringIO())
    said = json.loads(files[0].read_text(encoding="utf-8"))
    assert said["class_names"] == ["ant", "bee", "café"]
    assert (said["mean"], said["std"]) == ([100.0] * 3, [50.0] * 3)
    assert (said["size"], said["crop"], said["channels"]) == ([36, 36], 32, 3)


def test_the_loader_reads_pictures_as_predict_does(tmp_path: Path) -> None:
    classifier = made("resnet8", size=12, crop=None)
    export_classifier(classifier, tmp_path / "out")
    loaded = exported.Classifier(tmp_path / "out")
    deep = np.random.default_rng(0).integers(0, 2**16, (9, 9), dtype=np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    flat = (deep >> 8).astype(np.uint8)
    Image.fromarray(flat).convert("P").save(tmp_path / "palette.png")
    Image.fromarray(np.stack([flat] * 4, axis=2), "CMYK").save(tmp_path / "cmyk.tif")
    for path in sorted(tmp_path.glob("*.*")):
        found = loaded.open(path)[0].numpy()
        assert np.array_equal(found, read_picture(path, classifier.facts)), path.name


def test_an_export_replaces_an_earlier_one_but_nothing_else(tmp_path: Path) -> None:
    out, classifier = tmp_path / "out", made("resnet8")
    export_classifier(classifier, out)
    (out / "model.safetensors").write_bytes(b"damaged")
    export_classifier(classifier, out)
    assert len((out / "model.safetensors").read_bytes()) > 1000
    (out / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="holds more than an earlier export"):
        export_classifier(classifier, out)
    other = tmp_path / "other"
    other.mkdir()
    (other / "classifier.json").write_text("{}")
    with pytest.raises(ConfigError, match="holds more than an earlier export"):
        export_classifier(classifier, other)
    assert (out / "notes.txt").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "out"]


class Choosing(nn.Module):
    """A network that decides by a value, which no list of operations can."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        means = x.mean(dim=(2, 3))
        return self.layer(means if float(means.sum()) > 0 else -means)


def test_an_export_into_the_folder_where_one_stands_replaces_it_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    first = export_classifier(made("resnet8"), out)
    monkeypatch.chdir(out)
    again = export_classifier(made("resnet8"), Path())
    assert [path.name for path in again] == [path.name for path in first]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]
    assert exported.Classifier(out).facts["class_names"] == ["ant", "bee", "café"]


def test_a_network_that_cannot_be_written_down_is_refused_with_what_else_to_do(
    tmp_path: Path,
) -> None:
    classifier = Classifier(Choosing().eval(), 1.0, facts(), "0" * 16)
    with pytest.raises(ConfigError, match=r"cannot be exported: .*curvetune predict"):
        export_classifier(classifier, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_onnx_says_the_same(tmp_path: Path) -> None:
    for name in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(name, reason="the extra [onnx] and onnxruntime are not installed")
    import onnxruntime

    classifier = made("resnet8")
    export_classifier(classifier, tmp_path / "out", onnx=True)
    session = onnxruntime.InferenceSession(str(tmp_path / "out" / "model.onnx"))
    for count in (1, 4):
        images = np.random.default_rng(0).integers(256, size=(count, 3, 36, 36), dtype=np.uint8)
        logits = torch.tensor(session.run(None, {"images": images})[0])
        wanted = classifier.predict(images).probabilities
        assert np.allclose(logits.softmax(dim=1).numpy(), wanted, atol=1e-5)


def test_onnx_without_its_packages_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib.util

    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "onnx" else found(name)
    )
    with pytest.raises(ConfigError, match=r"pip install 'curvetune\[onnx\]'"):
        export_classifier(made("resnet8"), tmp_path / "out", onnx=True)


def test_the_command_exports_a_cell(tmp_path: Path) -> None:
    from trained_grid import GRID, train_grid

    train_grid(tmp_path / "storage", methods=({"name": "cross-entropy"},), rates=(0.0,))
    out = tmp_path / "out"
    args = ["export", f"{GRID}/cross-entropy", "--storage", tmp_path / "storage", "--out", out]
    result = CliRunner().invoke(app, [str(arg) for arg in args])
    assert result.exit_code == 0, result.exception
    assert f"python {out / 'classifier.py'} PICTURE" in result.output
    said = json.loads((out / "classifier.json").read_text())
    classifier = classifier_of(tmp_path / "storage", f"{GRID}/cross-entropy")
    assert said["cell_id"] == classifier.cell_id
    assert said["white"] == 16
