"""Ray Data: the same images in the same order, whatever happens to its workers."""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import ray
from ray import cloudpickle

sys.path.insert(0, str(Path(__file__).parents[1] / "data" / "stream"))
import stream_helpers
from stream_helpers import SIZE, OnDisk, reference, table_of, write

from curvetune.data.stream import index
from curvetune.data.stream import shards as shards_module
from curvetune.errors import BackendError, DataError
from curvetune.tune import images
from curvetune.tune.images import RayPixels

pytestmark = [
    pytest.mark.ray,
    # Ray warns of options that it sets itself, wherever a DataContext is made
    pytest.mark.filterwarnings("ignore:.*is deprecated:DeprecationWarning:ray"),
    pytest.mark.filterwarnings("ignore:`use_:DeprecationWarning"),
]
for module in (stream_helpers, sys.modules[__name__]):
    cloudpickle.register_pickle_by_value(module)  # type: ignore[no-untyped-call]


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="CRITICAL",
    )
    yield
    ray.shutdown()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CURVETUNE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(images, "ROWS_IN_TASK", 4)
    monkeypatch.setattr(shards_module, "MOST_ROWS", 7)
    return tmp_path / "cache"


class Tracked(OnDisk):
    """Files whose readers say who they are, and take their time."""

    def read(self, positions):  # type: ignore[no-untyped-def]
        (self.folder / f"{os.getpid()}.pid").touch()
        time.sleep(0.1)
        return super().read(positions)


def tracked(folder: Path) -> Tracked:
    return Tracked(folder, write(folder).names)


def ray_pixels(files: OnDisk, wait_s: float = 60.0) -> RayPixels:
    """Return images of which nothing is kept yet."""
    found = index(table_of(files), SIZE, "fail")
    for path in (Path(os.environ["CURVETUNE_CACHE"]) / "shards").glob("*.npy"):
        path.unlink()
    return RayPixels(found.pixels, 2, wait_s)


def test_what_has_no_room_comes_from_workers_in_exactly_the_order_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = tracked(tmp_path / "images")
    monkeypatch.setenv("CURVETUNE_CACHE_GB", "0")
    pixels = ray_pixels(files)
    (files.folder / f"{os.getpid()}.pid").unlink()
    order = np.random.default_rng(0).integers(40, size=61)
    found = list(pixels.read(order, 8))
    assert [len(batch) for batch in found] == [8] * 7 + [5]
    np.testing.assert_array_equal(np.concatenate(found), reference(files, order))
    readers = {path.stem for path in files.folder.glob("*.pid")}
    assert readers
    assert str(os.getpid()) not in readers


def test_the_shards_that_a_node_lacks_are_made_by_workers_and_then_read_here(
    tmp_path: Path, cache: Path
) -> None:
    files = write(tmp_path / "images")
    pixels = ray_pixels(files)
    order = np.random.default_rng(0).permutation(40)
    np.testing.assert_array_equal(
        np.concatenate(list(pixels.read(order, 8))), reference(files, order)
    )
    assert len(list((cache / "shards").glob("*.npy"))) == 6
    for path in files.files():
        path.unlink()
    np.testing.assert_array_equal(index_again(pixels), np.concatenate(list(pixels.read(order, 8))))


def index_again(pixels: RayPixels) -> np.ndarray:
    return pixels[np.random.default_rng(0).permutation(40)]


def test_a_worker_that_is_killed_in_mid_epoch_costs_no_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = tracked(tmp_path / "images")
    monkeypatch.setenv("CURVETUNE_CACHE_GB", "0")
    pixels = ray_pixels(files)
    (files.folder / f"{os.getpid()}.pid").unlink()
    order = np.random.default_rng(0).permutation(40)
    found, killed = [], 0
    for batch in pixels.read(order, 4):
        found.append(batch)
        if len(found) == 3:
            for path in files.folder.glob("*.pid"):
                os.kill(int(path.stem), signal.SIGKILL)
                killed += 1
    assert killed
    np.testing.assert_array_equal(np.concatenate(found), reference(files, order))


def test_an_image_that_changed_is_named_with_its_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = write(tmp_path / "images")
    monkeypatch.setenv("CURVETUNE_CACHE_GB", "0")
    pixels = ray_pixels(files)
    stream_helpers.picture(99).save(files.folder / "23.jpg")
    with pytest.raises(DataError, match=r"23\.jpg \(row 23\): it changed"):
        list(pixels.read(np.arange(40), 8))


def test_a_pipeline_that_gets_no_cpu_is_an_error_that_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CURVETUNE_CACHE_GB", "0")
    pixels = ray_pixels(write(tmp_path / "images"), wait_s=3.0)

    @ray.remote(num_cpus=2)
    class Greedy:
        def ready(self) -> bool:
            return True

    greedy = Greedy.remote()  # type: ignore[attr-defined]
    ray.get(greedy.ready.remote())
    try:
        with pytest.raises(BackendError, match=r"Ray Data: .*no batch within 3 s.*--data-cpus"):
            list(pixels.read(np.arange(40), 8))
    finally:
        ray.kill(greedy)


def test_a_slow_network_is_no_hang(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CURVETUNE_CACHE_GB", "0")
    monkeypatch.setattr(images, "MEMORY_BYTES", 10_000)  # so that Ray Data waits for the network
    files = write(tmp_path / "images")
    pixels = ray_pixels(files, wait_s=8.0)
    found = []
    for batch in pixels.read(np.arange(40), 4):
        if len(found) == 2:
            time.sleep(9.0)
        found.append(batch)
    np.testing.assert_array_equal(np.concatenate(found), reference(files, range(40)))


def test_who_leaves_an_epoch_early_leaves_no_thread_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CURVETUNE_CACHE_GB", "0")
    pixels = ray_pixels(write(tmp_path / "images"))

    def ours() -> list[str]:
        return [one.name for one in threading.enumerate() if one.name.startswith("curvetune")]

    for _ in pixels.read(np.arange(40), 4):
        assert ours()
        break
    deadline = time.monotonic() + 10
    while ours() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not ours()


def test_a_trial_of_tune_gets_its_images_from_the_cpus_that_are_kept_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ray import tune

    from curvetune.data.source import Dataset, Images
    from curvetune.tune.trainable import decoded_for

    files = tracked(tmp_path / "images")
    monkeypatch.setenv("CURVETUNE_CACHE_GB", "0")
    pixels = index(table_of(files), SIZE, "fail").pixels
    (files.folder / f"{os.getpid()}.pid").unlink()
    some = Images(pixels, np.zeros(40, np.int64))
    dataset = Dataset("some", some, some, ("a", "b"), (0.0,) * 3, (1.0,) * 3, pad=0, flip=False)
    order = np.random.default_rng(0).permutation(40)

    def trial(config: dict[str, object]) -> None:
        os.environ["CURVETUNE_CACHE_GB"] = "0"
        train = decoded_for(dataset, 1.0).train.x
        assert type(train) is RayPixels
        found = np.concatenate(list(train.read(order, 8)))
        tune.report({"pixels": found.tobytes(), "pid": os.getpid()})

    tuner = tune.Tuner(
        tune.with_resources(trial, {"cpu": 1}),
        run_config=tune.RunConfig(storage_path=str(tmp_path / "tune"), verbose=0),
    )
    (result,) = tuner.fit()
    assert result.metrics["pixels"] == reference(files, order).tobytes()
    readers = {path.stem for path in files.folder.glob("*.pid")}
    assert readers
    assert str(result.metrics["pid"]) not in readers
