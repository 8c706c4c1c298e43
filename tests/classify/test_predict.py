"""Predictions of stored classifiers against a network that is put together by hand."""

import csv
import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from image_folder import SUBJECTS, encoded, picture, write_photographs
from PIL import Image, ImageOps
from typer.testing import CliRunner

from curvetune import data, models
from curvetune.cell import run_cell
from curvetune.classify import classifier_of
from curvetune.classify.files import find_pictures
from curvetune.classify.raw import raw_images, read_picture
from curvetune.cli import app
from curvetune.config import CellConfig
from curvetune.data.decode import BadImageError
from curvetune.data.recipe import statistics_of
from curvetune.errors import ConfigError, CorruptError, DataError
from curvetune.grids.splits import stored_split
from curvetune.store import CellStore
from curvetune.store.files import write_json
from curvetune.training.checkpoint import load_state
from curvetune.training.classifier_facts import ClassifierFacts

SHORT: dict[str, Any] = {
    "bias": {"imbalance": 1, "noise_rate": 0},
    "allocate": {"epochs": 3, "warmup": 0, "milestones": [2], "batch_size": 16},
    "seed": 0,
}


def trained(root: Path, data_dir: Path | None, values: dict[str, Any]) -> dict[str, Any]:
    """Train a cell and return its result."""
    cell = CellConfig.model_validate(SHORT | values)
    size = cell.data.image_size
    source = data.find_source(cell.data.name, image_size=size, variant=cell.data.variant)
    digest = source.digest(data_dir)
    return run_cell(cell, digest, source.load(data_dir), root, device=torch.device("cpu"))


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    write_photographs(folder, train=36, test=18)
    return folder


@pytest.fixture(scope="module")
def of_photos(
    photos: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any]]:
    root = tmp_path_factory.mktemp("storage")
    values = {
        "data": {"name": "folder", "image_size": 40, "crop_size": 32, "statistics": "own"}
        | {"meta_per_class": 0},
        "model": {"name": "torchvision/resnet18"},
    }
    return root, trained(root, photos, values)


def run(*args: str | Path, code: int = 0) -> str:
    result = CliRunner().invoke(app, [str(arg) for arg in args])
    assert result.exit_code == code, (result.output, result.exception)
    return result.stdout


def by_hand(path: Path, mean: np.ndarray, std: np.ndarray) -> torch.Tensor:
    """Return a test photograph as evaluation sees it: 40 × 40, of which the middle 32 × 32."""
    with Image.open(path) as image:
        assert not path.name.endswith("IMG_0000.jpg") or image.getexif()  # this one is turned
        upright = ImageOps.exif_transpose(image).convert("RGB").resize((40, 40), Image.BILINEAR)
    x = np.asarray(upright).astype(np.float32)[4:36, 4:36]
    return torch.tensor(((x - mean) / std).transpose(2, 0, 1))


def test_photographs_get_the_logits_of_the_network_that_the_cell_has_stored(
    photos: Path, of_photos: tuple[Path, dict[str, Any]]
) -> None:
    root, done = of_photos
    files = sorted((photos / "test").rglob("*.jpg"))
    mean, std = statistics_of(data.Folder(40).load(photos).train.x)
    x = torch.stack([by_hand(file, np.float32(mean), np.float32(std)) for file in files])
    network = models.build("torchvision/resnet18", 3, image_size=32)
    state = load_state(CellStore(root).folder(done["cell_id"]) / "model.safetensors")
    network.load_state_dict(state["model"])
    with torch.no_grad():
        wanted = network.eval()(x).softmax(dim=1).numpy()

    classifier = classifier_of(root, done["cell_id"])
    found = classifier.predict(files)
    assert classifier.class_names == SUBJECTS
    assert np.allclose(found.probabilities, wanted, atol=1e-5)
    right = [name == file.parent.name for name, file in zip(found.names, files, strict=True)]
    assert 100 * np.mean(right) == pytest.approx(done["accuracy"], abs=1e-4)


def test_the_command_says_for_every_picture_what_the_classifier_says(
    photos: Path, of_photos: tuple[Path, dict[str, Any]]
) -> None:
    root, done = of_photos
    args = ("predict", done["cell_id"][:6], photos / "test", "--storage", root)
    rows = list(csv.DictReader(io.StringIO(run(*args, "--format", "csv", "--top", "2"))))
    files = sorted(str(file) for file in (photos / "test").rglob("*.jpg"))
    assert [row["image"] for row in rows] == files
    assert list(rows[0]) == ["image", "class", "probability", "class_2", "probability_2"]
    found = classifier_of(root, done["cell_id"]).predict(files)
    assert [row["class"] for row in rows] == found.names
    told = [float(row["probability"]) for row in rows]
    assert np.allclose(told, found.probabilities.max(axis=1), atol=1e-5)
    listed = json.loads(run(*args, "--json"))
    assert [one["image"] for one in listed["images"]] == files
    assert all(len(one["classes"]) == 3 for one in listed["images"])
    assert listed["unreadable"] == []
    table = run(*args)
    assert all(any(line.startswith(file) for line in table.splitlines()) for file in files)


def test_what_cannot_be_read_is_left_out_and_told_by_the_exit_code(
    photos: Path, of_photos: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    root, done = of_photos
    good, bad, text = (tmp_path / name for name in ("good.png", "bad.jpg", "notes.txt"))
    good.write_bytes(encoded(picture(1)))
    bad.write_bytes(b"no picture")
    text.write_text("hello")
    args = ("predict", done["cell_id"], "--storage", root)
    result = CliRunner().invoke(app, [str(arg) for arg in (*args, tmp_path)])
    assert result.exit_code == 3
    assert str(good) in result.stdout
    assert str(bad) not in result.stdout
    assert "1 of 2 pictures cannot be read" in result.stderr
    assert f"{bad}: no image" in result.stderr
    assert "1 other files" in result.stderr
    rows = list(csv.DictReader(io.StringIO(run(*args, bad, good, "--format", "csv", code=3))))
    assert [(row["image"], bool(row["class"])) for row in rows] == [
        (str(bad), False),
        (str(good), True),
    ]
    run(*args, good)
    with pytest.raises(DataError, match="1 of 1 pictures cannot be read"):
        app([str(arg) for arg in (*args, bad)], standalone_mode=False)


def test_files_folders_and_patterns_name_each_picture_once(photos: Path) -> None:
    sun = sorted(str(file) for file in (photos / "test" / "sun").iterdir())
    found = find_pictures([sun[0], str(photos / "test" / "s*"), str(photos / "**" / "sun")])
    assert list(found.pictures[: len(sun)]) == sun
    assert len(found.pictures) == len(list(photos.rglob("*/sun/*.jpg")))
    with pytest.raises(DataError, match="no such file or folder"):
        find_pictures([str(photos / "*.tga")])


@pytest.mark.parametrize("method", ["cross-entropy", "ldam-drw", "elr-plus"])
def test_digits_as_pictures_and_as_arrays_give_the_accuracy_that_was_recorded(
    method: str, tmp_path: Path
) -> None:
    values = {
        "data": {"name": "digits", "per_class_limit": 20, "test_limit": 60},
        "model": {"name": "resnet8"},
        "method": {"name": method},
    }
    done = trained(tmp_path, None, values)
    dataset = data.load("digits")
    cell = CellConfig.model_validate(SHORT | values)
    test = stored_split(tmp_path, cell, data.digest("digits")).test
    x, y = np.asarray(dataset.test.x)[test], dataset.test.y[test]
    classifier = classifier_of(tmp_path, done["cell_id"])
    found = classifier.predict(x)
    assert 100 * (found.labels == y).mean() == pytest.approx(done["accuracy"], abs=1e-4)
    shown = [Image.fromarray(np.rint(image[0] * (255 / 16)).astype(np.uint8)) for image in x]
    large = [image.resize((80, 80), Image.NEAREST) for image in shown[:1]]
    assert np.array_equal(classifier.predict(shown).probabilities, found.probabilities)
    assert len(classifier.predict(large)) == 1
    assert np.array_equal(classifier.predict(x[:, 0]).probabilities, found.probabilities)


def test_arrays_may_have_their_channels_last_and_another_size_but_not_another_type(
    of_photos: tuple[Path, dict[str, Any]],
) -> None:
    root, done = of_photos
    classifier = classifier_of(root, done["cell_id"])
    x = np.random.default_rng(0).integers(256, size=(4, 3, 40, 40), dtype=np.uint8)
    wanted = classifier.predict(x).probabilities
    last = x.transpose(0, 2, 3, 1)
    assert np.array_equal(classifier.predict(last).probabilities, wanted)
    one_by_one = [Image.fromarray(image) for image in last]
    assert np.array_equal(classifier.predict(one_by_one).probabilities, wanted)
    assert np.allclose(classifier.predict(last[0]).probabilities, wanted[:1], atol=1e-5)
    twice = np.kron(last, np.ones((1, 2, 2, 1), np.uint8))
    assert np.allclose(classifier.predict(twice).probabilities, wanted, atol=0.1)
    assert len(classifier.predict([])) == 0
    for wrong in (x.astype(np.float32), x[:, :2], x[0, 0, 0]):
        with pytest.raises(DataError, match="images: an array of"):
            classifier.predict(wrong)


def test_a_picture_of_pillows_is_read_as_its_file_is(tmp_path: Path) -> None:
    facts = ClassifierFacts(("a", "b"), 3, (8, 6), None, (0.0,) * 3, (1.0,) * 3, 255)
    draw = np.random.default_rng(0)
    pixels = draw.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    turned = Image.Exif()
    turned[274] = 6  # to be turned by 90 degrees
    for name in ("turned.tif", "turned.png"):
        Image.fromarray(pixels).save(tmp_path / name, exif=turned)
        with Image.open(tmp_path / name) as image:
            assert np.array_equal(raw_images(image, facts)[0], read_picture(tmp_path / name, facts))
    cut = tmp_path / "cut.png"
    cut.write_bytes((tmp_path / "turned.png").read_bytes()[:-60])
    with pytest.raises(DataError, match="cannot be read"), Image.open(cut) as image:
        raw_images(image, facts)


def test_one_grey_array_is_one_image_with_its_channel_on_either_side() -> None:
    facts = ClassifierFacts(("a", "b"), 1, (8, 8), None, (0.0,), (1.0,), 255)
    image = np.arange(64, dtype=np.uint8).reshape(8, 8)
    for given in (image, image[None], image[..., None], image[None, None]):
        assert np.array_equal(raw_images(given, facts), image[None, None])
    assert raw_images(np.stack([image] * 3), facts).shape == (3, 1, 8, 8)


def test_what_is_no_file_is_refused_and_not_read() -> None:
    facts = ClassifierFacts(("a", "b"), 1, (8, 8), None, (0.0,), (1.0,), 255)
    with pytest.raises(BadImageError, match="is no file"):
        read_picture(Path("/dev/null"), facts)


def test_a_result_of_an_older_version_asks_for_the_images_that_know_the_classes(
    photos: Path, of_photos: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    root, done = of_photos
    old = tmp_path / "old"
    shutil.copytree(root, old)
    store, cell_id = CellStore(old), done["cell_id"]
    store.discard(cell_id)
    facts = ("classifier", "files", "schema_version", "cell_id", "seal")
    store.publish(cell_id, {k: v for k, v in done.items() if k not in facts})
    assert "classifier" not in (store.result(cell_id) or {})
    with pytest.raises(DataError, match=r"older version.*give --data-dir DIR"):
        classifier_of(old, cell_id)
    files = sorted((photos / "test").rglob("*.jpg"))[:3]
    wanted = classifier_of(root, cell_id).predict(files).probabilities
    assert np.array_equal(classifier_of(old, cell_id, photos).predict(files).probabilities, wanted)
    other = tmp_path / "other"
    write_photographs(other, train=12, test=6)
    with pytest.raises(DataError, match="others than it was trained on"):
        classifier_of(old, cell_id, other)


def test_what_a_source_says_in_numbers_of_numpy_is_stored_as_plain_ones() -> None:
    images = data.load("digits").train
    names = tuple(np.array(["a", "b"]))
    numbers = tuple(np.array([4.5], np.float32))
    of_plugin = data.Dataset("own", images, images, names, numbers, numbers, 1, False)
    facts = ClassifierFacts.of(of_plugin)
    stored = json.loads(json.dumps(facts.to_json()))
    assert ClassifierFacts.from_json(stored, "here") == facts
    assert stored["mean"] == [4.5]
    for key in stored:
        with pytest.raises(CorruptError, match="here: "):
            ClassifierFacts.from_json({k: v for k, v in stored.items() if k != key}, "here")


def test_a_cell_without_a_result_says_so(tmp_path: Path) -> None:
    cell = CellConfig.model_validate(SHORT | {"model": {"name": "resnet8"}})
    cell_id = cell.cell_id("0" * 64)
    write_json(
        CellStore(tmp_path).folder(cell_id) / "config.json",
        cell.model_dump(mode="json") | {"data_digest": "0" * 64},
    )
    with pytest.raises(ConfigError, match="has no result yet"):
        classifier_of(tmp_path, cell_id)


def test_a_network_of_a_plugin_predicts_where_the_plugin_is_and_says_so_where_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import curvetune
    from curvetune.config.plugins import PLUGINS

    plugin = tmp_path / "tiny.py"
    plugin.write_text(
        "__version__ = '1'\n"
        "from torch import nn\n"
        "from curvetune.plugins import model\n"
        "@model('tiny')\n"
        "def tiny(classes, channels):\n"
        "    return nn.Sequential(nn.Conv2d(channels, 8, 3), nn.ReLU(),\n"
        "                         nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, classes))\n"
    )
    options = {"model.name": "tiny", "data.per_class_limit": 20, "allocate.epochs": 1}
    cell = curvetune.train(
        "cross-entropy",
        data="digits",
        profile="smoke",
        set=options,
        storage=tmp_path / "st",
        plugins=str(plugin),
    )
    digits = data.load("digits")
    model = curvetune.Results(tmp_path / "st").model(cell.cell_id)
    found = model.predict(np.asarray(digits.test.x))
    right = 100 * (found.labels == digits.test.y).mean()
    assert right == pytest.approx(cell.accuracy, abs=1e-4)
    monkeypatch.delitem(PLUGINS.models, "tiny")
    with pytest.raises(ConfigError, match=r"'tiny' is of .*not loaded here; give the plugin with"):
        classifier_of(tmp_path / "st", cell.cell_id)
