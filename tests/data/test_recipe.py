"""How photographs are fed, where a cell says so: which addresses that moves, and what is seen."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from image_folder import write_images
from numpy.typing import NDArray

from curvetune.cell import run_cell
from curvetune.config import CellConfig, DataConfig
from curvetune.config.load import validate
from curvetune.data import find_source
from curvetune.data.recipe import cropped, fed, statistics_of
from curvetune.data.source import Dataset
from curvetune.errors import ConfigError, StoppedError
from curvetune.grids.identity import deciding_keys, differing_keys

DIGEST = "d" * 64


def cell(**data: object) -> CellConfig:
    options = {"name": "folder", "meta_per_class": 0, "image_size": 24, **data}
    return CellConfig.model_validate(
        {
            "data": options,
            "bias": {"noise": "real"},
            "model": {"name": "resnet8"},
            "probe": {"epochs": 3, "cyclic_start": 1, "half_period": 1},
            "allocate": {"epochs": 2, "milestones": [1], "warmup": 0, "batch_size": 8},
            "method": {"name": "curvenet", "meta": "low_loss", "removed_losses": 1},
        }
    )


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Dataset:
    monkeypatch.setenv("CURVETUNE_CACHE", str(tmp_path / "cache"))
    write_images(tmp_path / "images")
    return find_source("folder", image_size=24).load(tmp_path / "images")


FED = ({"crop_size": 16}, {"statistics": "own"}, {"crop_size": 16, "statistics": "own"})


@pytest.mark.parametrize("options", FED)
def test_how_images_are_fed_moves_the_addresses_of_probe_and_cell_but_not_of_the_split(
    options: dict[str, object],
) -> None:
    plain, other = cell(), cell(**options)
    assert other.split_id(DIGEST) == plain.split_id(DIGEST)
    assert other.probe_id(DIGEST) != plain.probe_id(DIGEST)
    assert other.cell_id(DIGEST) != plain.cell_id(DIGEST)
    found = differing_keys(deciding_keys(plain, DIGEST), deciding_keys(other, DIGEST))
    assert sorted(found) == sorted(f"data.{key}" for key in options)


def test_what_is_fed_as_before_has_the_address_and_the_stored_config_of_before() -> None:
    same = cell(crop_size=None, statistics="source")
    assert same.cell_id(DIGEST) == cell().cell_id(DIGEST) == "946f1da5f05e3261"  # of commit 8b84c5f
    assert same.probe_id(DIGEST) == "749b1159f581ed31"
    assert not {"crop_size", "statistics"} & same.model_dump(mode="json")["data"].keys()
    assert len({cell(**options).cell_id(DIGEST) for options in FED}) == len(FED)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"name": "cifar10", "crop_size": 24}, "crop_size=24: cifar10 has a recipe of its own"),
        ({"name": "digits", "statistics": "own"}, "statistics=own: digits has a recipe of its own"),
        (
            {"name": "folder", "image_size": 128, "crop_size": 224},
            "crop_size=224 is more than image_size=128.*image_size=256",
        ),
        ({"name": "folder", "image_size": 513}, "less than or equal to 512"),
    ],
)
def test_what_cannot_be_fed_is_refused_in_words(options: dict[str, object], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        validate(options, DataConfig, "here")


class Streamed:
    """Images that are handed out in batches alone."""

    def __init__(self, x: NDArray[np.uint8]) -> None:
        self._x = x
        self.shape = x.shape

    def __len__(self) -> int:
        return len(self._x)

    def read(self, positions: NDArray[np.int64], batch_size: int) -> Iterator[NDArray[np.uint8]]:
        assert batch_size < 100
        for start in range(0, len(positions), batch_size):
            yield self._x[positions[start : start + batch_size]]


@pytest.mark.parametrize("channels", [1, 3])
def test_own_statistics_are_those_of_all_pixels(channels: int) -> None:
    x = np.random.default_rng(1).integers(40, 200, (150, channels, 9, 7), dtype=np.uint8)
    mean, std = statistics_of(x)
    pixels = x.astype(np.float64)
    np.testing.assert_allclose(mean, pixels.mean(axis=(0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(std, pixels.std(axis=(0, 2, 3)), rtol=1e-12)
    assert statistics_of(Streamed(x)) == (mean, std)  # type: ignore[arg-type]  # has what is asked


def test_a_channel_of_one_value_is_not_divided_by_nothing() -> None:
    assert statistics_of(np.full((3, 1, 4, 4), 7, np.uint8)) == ((7.0,), (1.0,))


def test_images_with_own_statistics_have_mean_0_and_deviation_1(images: Dataset) -> None:
    found = fed(images, DataConfig(name="folder", image_size=24, statistics="own"), DIGEST)
    pixels = found.train.x[np.arange(len(found.train.x))]
    scaled = (pixels - np.array(found.mean)[:, None, None]) / np.array(found.std)[:, None, None]
    np.testing.assert_allclose(scaled.mean(axis=(0, 2, 3)), 0, atol=1e-12)
    np.testing.assert_allclose(scaled.std(axis=(0, 2, 3)), 1, rtol=1e-12)
    assert (found.crop, found.pad) == (images.crop, images.pad)


def test_statistics_are_computed_once_on_a_machine(images: Dataset) -> None:
    options = DataConfig(name="folder", image_size=24, statistics="own")
    first = fed(images, options, DIGEST)
    black = replace(images, train=replace(images.train, x=np.zeros_like(images.train.x)))
    assert fed(black, options, DIGEST).mean == first.mean
    assert fed(black, options, "e" * 64).mean == (0.0, 0.0, 0.0)


def test_a_classifier_gets_images_of_the_size_of_the_crop(images: Dataset) -> None:
    assert images.input_shape == (3, 24, 24)
    assert cropped(images, None) is images
    assert cropped(images, 16).input_shape == (3, 16, 16)


@pytest.mark.slow
def test_a_cell_of_cropped_photographs_resumes_bit_for_bit(images: Dataset, tmp_path: Path) -> None:
    config = cell(crop_size=16, statistics="own")
    cpu = torch.device("cpu")
    straight = run_cell(config, DIGEST, images, tmp_path / "a", device=cpu, checkpoint_every=1)
    asked: list[int] = []

    def often() -> bool:
        asked.append(1)
        return len(asked) % 2 == 0

    for _ in range(20):
        try:
            found = run_cell(
                config, DIGEST, images, tmp_path / "b", device=cpu, checkpoint_every=1, stop=often
            )
            break
        except StoppedError:
            continue
    assert len(asked) > 4
    assert found["accuracy"] == straight["accuracy"]
    stored = [
        (tmp_path / name / "probes" / str(config.probe_id(DIGEST)) / "curves.npy").read_bytes()
        for name in "ab"
    ]
    assert stored[0] == stored[1]
