"""Whether images travel to other nodes, or are read there; what they are stays the same."""

from pathlib import Path

import numpy as np
import pytest
from image_folder import write_images

from curvetune.data import Dataset, Folder
from curvetune.tune.nodes.carried import SHARE, carried

GIB = float(1 << 30)
BYTES = 27 * 3 * 32 * 32  # of the pixels of `images`


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Dataset:
    monkeypatch.setenv("CURVETUNE_CACHE", str(tmp_path / "cache"))
    write_images(tmp_path / "images")
    return Folder().load(tmp_path / "images")


def nodes(*stores: float) -> list[dict[str, float]]:
    return [{"CPU": 2.0, "object_store_memory": store} for store in stores]


def test_a_folder_of_the_driver_alone_reaches_other_nodes_as_an_array(images: Dataset) -> None:
    sent = carried(images, nodes(GIB, GIB))
    for one, other in ((images.train, sent.train), (images.test, sent.test)):
        assert isinstance(other.x, np.ndarray)
        np.testing.assert_array_equal(one.x[np.arange(len(one))], other.x)
        np.testing.assert_array_equal(one.y, other.y)
    assert sent.class_names == images.class_names


def test_on_one_node_images_are_read_from_its_cache(images: Dataset) -> None:
    assert carried(images, nodes(GIB)) is images


@pytest.mark.parametrize(("store", "travels"), [(BYTES / SHARE, True), (BYTES / SHARE - 9, False)])
def test_images_that_a_node_has_no_room_for_stay_where_they_are(
    images: Dataset, store: float, travels: bool
) -> None:
    assert (carried(images, nodes(GIB, store)) is not images) is travels
    assert carried(images, [*nodes(GIB), {"CPU": 2.0}]) is images


def test_what_is_no_data_set_is_let_through() -> None:
    assert carried("a stand-in", nodes(GIB, GIB)) == "a stand-in"
