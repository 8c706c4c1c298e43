"""What the data cannot give is refused with its key and exit code 2, by plan and grid alike."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from image_folder import encoded, picture
from tiny_cifar import encoded as encoded_pixels
from tiny_cifar import images, write_parquet
from typer.testing import CliRunner

from curvetune.bias.noise import NOISES, fewest_classes, noise_matrix
from curvetune.cli import app
from curvetune.config import BiasConfig, DataConfig
from curvetune.data import SOURCES, ClassSizes
from curvetune.data.limits import train_size
from curvetune.data.splits import make_split
from curvetune.errors import DataError

# ---------------------------------------------------------------- what a plan knows beforehand


def _said(make: Callable[[], int]) -> int | str:
    """Return the size of a training set, or why there is none."""
    try:
        return make()
    except DataError as error:
        return str(error)


@pytest.mark.parametrize("seed", range(60))
def test_a_plan_refuses_exactly_what_a_split_refuses_and_in_its_words(seed: int) -> None:
    random = np.random.default_rng(seed)
    num_classes = int(random.integers(1, 5))
    sizes = random.integers(0 if seed % 4 == 0 else 3, 14, size=num_classes)
    y = random.permutation(np.repeat(np.arange(num_classes), sizes))
    data = DataConfig(
        name=random.choice(["folder", "cifar10"]),
        meta_per_class=int(random.integers(0, 4)),
        per_class_limit=random.choice([None, 1, 5]),
        train_limit=random.choice([None, 1, 4]),
    )
    for kind in NOISES:
        rate = 0.0 if kind == "real" else float(random.choice([0.0, 0.4]))
        bias = BiasConfig(imbalance=random.choice([1.0, 2.0, 9.0]), noise=kind, noise_rate=rate)
        foreseen = _said(lambda: train_size(ClassSizes.of(y, y, num_classes), data, bias))  # noqa: B023
        made = _said(lambda: len(make_split(y, y, data, bias, seed, num_classes).train))  # noqa: B023
        assert foreseen == made or (len(y) == 0 and "no test images" in str(foreseen))


@pytest.mark.parametrize("kind", NOISES)
def test_a_kind_of_noise_needs_as_many_classes_as_it_says(kind: str) -> None:
    fewest = fewest_classes(kind)
    assert noise_matrix(kind, 0.4, fewest, [5] * fewest).shape == (fewest, fewest)
    with pytest.raises(ValueError, match=f"at least {fewest} for {kind}"):
        noise_matrix(kind, 0.4, fewest - 1, [5] * (fewest - 1))


def test_without_noise_its_kind_decides_nothing() -> None:
    y = np.repeat([0, 1], 20)
    first, *others = (
        make_split(y, y, DataConfig(), BiasConfig(noise=kind), 3, 2) for kind in NOISES
    )
    for other in others:
        for name, array in other.arrays().items():
            np.testing.assert_array_equal(array, first.arrays()[name])


@pytest.mark.parametrize("name", ["digits", "cifar10", "cifar100"])
def test_the_sizes_of_a_source_are_known_before_it_is_downloaded(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CURVETUNE_CACHE", str(tmp_path))
    sizes = SOURCES[name].sizes(None)
    expected = {"digits": (1297, 500, 10), "cifar10": (50_000, 10_000, 10)}
    found = sum(sizes.train), sum(sizes.test), len(sizes.train)
    assert found == expected.get(name, (50_000, 10_000, 100))
    assert len(sizes.test) == len(sizes.train)
    assert list(tmp_path.iterdir()) == []


# ---------------------------------------------------------------- the commands


def _folder(root: Path) -> None:
    for split, count in (("train", 6), ("test", 2)):
        for name in ("cat", "dog"):
            (root / split / name).mkdir(parents=True)
            for k in range(count):
                (root / split / name / f"{k}.png").write_bytes(encoded(picture(k)))


def _parquet(
    root: Path,
    train: list[Any],
    test: list[Any],
    names: tuple[str, ...] = ("cat", "dog", "frog"),
) -> None:
    png = encoded_pixels(images(1, 0)[0], "PNG")
    for split, labels in (("train", train), ("test", test)):
        write_parquet(root / f"{split}-0.parquet", [png] * len(labels), labels, names=names)


DIGITS, FOLDER, CIFAR = ({"name": name} for name in ("digits", "folder", "cifar10"))
FEW = {**FOLDER, "meta_per_class": 2}
SMALL = {**CIFAR, "meta_per_class": 1}


@pytest.mark.parametrize(
    ("data", "bias", "prepare", "named"),
    [
        (
            FEW,
            {"noise": "flip2", "noise_rate": 0.4},
            _folder,
            "bias.noise=flip2: .* 3 classes .* 2",
        ),
        (FEW, {"imbalance": 50}, _folder, "bias.imbalance=50: the largest class has 4 images"),
        ({**FOLDER, "meta_per_class": 6}, {}, _folder, "data.meta_per_class=6: class 0 has 6"),
        ({**FEW, "train_limit": 1}, {}, _folder, "data.train_limit=1 leaves 1 of 8"),
        ({**DIGITS, "meta_per_class": 200}, {}, None, "data.meta_per_class=200: class 0 has"),
        ({**DIGITS, "train_limit": 1}, {}, None, "data.train_limit=1 leaves 1 of"),
        (DIGITS, {"imbalance": 1000}, None, "bias.imbalance=1000: .* none is left of class"),
        ({**DIGITS, "per_class_limit": 3}, {"imbalance": 5}, None, "bias.imbalance=5: .*3 images"),
        (CIFAR, {"imbalance": 6000}, None, "bias.imbalance=6000: .* 4900 images"),
        (
            SMALL,
            {},
            lambda root: _parquet(root, [0, 0, 1, 1], [0, 1]),
            "data.meta_per_class=1: class 2 has 0 training images; every class needs",
        ),
        (
            SMALL,
            {},
            lambda root: _parquet(root, [0] * 4, [0], names=("cat",)),
            "data.name=cifar10: the data has 1 classes; at least 2",
        ),
        (
            SMALL,
            {},
            lambda root: _parquet(root, [0, 1, 2] * 3, []),
            "data.name=cifar10: there are no test images",
        ),
        (
            SMALL,
            {},
            lambda root: _parquet(root, [0, 1, 2] * 3, [0, 3]),
            "test-0.parquet: row 1 has label 3",
        ),
    ],
)
def test_plan_and_grid_refuse_the_same_in_the_same_words(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    data: dict[str, Any],
    bias: dict[str, Any],
    prepare: Callable[[Path], None] | None,
    named: str,
) -> None:
    monkeypatch.setenv("CURVETUNE_CACHE", str(tmp_path / "cache"))
    model = {"name": "resnet8"}
    space = {"base": {"data": data, "bias": bias, "model": model}, "grid": {"seed": [0, 1]}}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(space))
    options = [str(tmp_path / "own.yaml"), "--storage", str(tmp_path / "storage")]
    if prepare is not None:
        prepare(tmp_path / "data")
        options += ["--data-dir", str(tmp_path / "data")]
    said = []
    for command in ("plan", "grid"):
        error = CliRunner().invoke(app, [command, *options]).exception
        assert isinstance(error, DataError), error
        assert error.exit_code == 2
        said.append(str(error))
    assert said[0] == said[1]
    with pytest.raises(DataError, match=named):
        raise DataError(said[0])
    assert not (tmp_path / "storage").exists()


def test_a_grid_of_which_one_setting_cannot_be_is_refused_whole(tmp_path: Path) -> None:
    space = {
        "base": {"data": DIGITS, "model": {"name": "resnet8"}},
        "grid": {"imbalance": [1, 10, 5000], "seed": [0]},
    }
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(space))
    options = [str(tmp_path / "own.yaml"), "--storage", str(tmp_path / "storage")]
    for command in ("plan", "grid"):
        error = CliRunner().invoke(app, [command, *options]).exception
        assert isinstance(error, DataError)
        assert "bias.imbalance=5000" in str(error)
