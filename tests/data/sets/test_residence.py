"""Where images are while a cell trains: what decides it, and that it decides nothing else."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from curvetune.config import CellConfig, DataConfig
from curvetune.data.sets import residence
from curvetune.data.sets.reading import ArrayPixels
from curvetune.data.sets.residence import image_set, is_streamed
from curvetune.data.source import Dataset, Images
from curvetune.grids.identity import deciding_keys, differing_keys
from curvetune.planning.space import load_space
from curvetune.system.memory import free_memory

CPU = torch.device("cpu")
GIB = 1 << 30


class Large(ArrayPixels):
    """As many images as it says, of which none is ever asked for."""

    def __init__(self, count: int) -> None:
        super().__init__(np.zeros((0, 3, 64, 64), np.uint8))
        self.shape_of_all = (count, 3, 64, 64)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return self.shape_of_all


def dataset(x: Any) -> Dataset:
    images = Images(x, np.zeros(len(x), np.int64))
    return Dataset("toy", images, images, ("a",), (0.0,) * 3, (1.0,) * 3, pad=0, flip=False)


@pytest.mark.parametrize(("count", "streamed"), [(0, False), (100, False), (10**9, True)])
def test_auto_streams_what_is_large_beside_the_free_memory(count: int, streamed: bool) -> None:
    assert is_streamed(dataset(Large(count)), "auto", CPU) is streamed


def test_what_is_an_array_already_is_kept_unless_streaming_is_asked_for() -> None:
    held = dataset(np.zeros((2, 3, 8, 8), np.uint8))
    assert [is_streamed(held, one, CPU) for one in ("auto", "resident", "streamed")] == [
        False,
        False,
        True,
    ]
    large = dataset(Large(10**9))
    assert not is_streamed(large, "resident", CPU)


def test_a_set_is_made_of_some_images_of_either_kind() -> None:
    x = np.random.default_rng(0).integers(256, size=(6, 3, 8, 8), dtype=np.uint8)
    rows, y = np.array([4, 1, 5]), np.array([0, 0, 0])
    for pixels in (x, ArrayPixels(x)):
        facts = dataset(x)
        for streamed in (True, False):
            made = image_set(Images(pixels, y), rows, y, facts, CPU, streamed=streamed)
            assert made.reads == streamed
            (batch,) = made.ordered(10)
            np.testing.assert_array_equal(batch.x.numpy(), x[rows])


def cgroup(folder: Path, limit: str, used: int, inactive: int) -> Path:
    folder.mkdir()
    (folder / "memory.max").write_text(f"{limit}\n")
    (folder / "memory.current").write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 5\ninactive_file {inactive}\nactive_file 7\n")
    return folder


def test_free_memory_is_the_least_that_the_machine_and_each_group_leave(tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text(f"MemTotal: 99 kB\nMemAvailable:  {8 * GIB // 1024} kB\nBuffers: 1 kB\n")
    assert free_memory(meminfo, []) == 8 * GIB
    loose = cgroup(tmp_path / "loose", "max", GIB, 0)
    tight = cgroup(tmp_path / "tight", str(4 * GIB), 3 * GIB, GIB // 2)
    full = cgroup(tmp_path / "full", str(GIB), 2 * GIB, 0)
    assert free_memory(meminfo, [loose]) == 8 * GIB
    assert free_memory(meminfo, [loose, tight]) == 3 * GIB // 2
    assert free_memory(meminfo, [tight, full]) == 0
    assert free_memory(tmp_path / "none", [loose]) is None
    assert free_memory(tmp_path / "none", [tight]) == 3 * GIB // 2


def test_this_machine_says_how_much_memory_is_free() -> None:
    free = free_memory()
    assert free is None or 0 < free < 1 << 50
    assert residence.SHARE < 0.5  # a set is there twice while it is padded


@pytest.mark.parametrize("space", ["digits", "cifar10"])
@pytest.mark.parametrize("value", ["resident", "streamed"])
def test_no_address_and_no_deciding_key_knows_of_it(space: str, value: str) -> None:
    digest = "d" * 64
    plain = load_space(space).cells
    other = load_space(space, fixed={"data.residence": value}).cells
    assert {cell.data.residence for cell in other} == {value}
    for one, two in zip(plain, other, strict=True):
        for name in ("split_id", "probe_id", "cell_id"):
            assert getattr(one, name)(digest) == getattr(two, name)(digest)
        keys = [deciding_keys(cell, digest) for cell in (one, two)]
        assert not differing_keys(*keys)
        assert not any("residence" in key for key in keys[1])


def test_a_config_without_it_is_as_before_it_existed() -> None:
    assert "residence" not in CellConfig().model_dump(mode="json")["data"]
    assert DataConfig.model_validate({"residence": "streamed"}).residence == "streamed"
    with pytest.raises(ValidationError, match="'auto', 'resident' or 'streamed'"):
        DataConfig.model_validate({"residence": "disk"})
