import hashlib
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tiny_cifar import NAMES, NAMES_OF, encoded, images, write_cifar, write_parquet
from torchvision import datasets

import curvetune.data
from curvetune.data.cifar import CIFAR10, CIFAR100, Archive, Cifar
from curvetune.data.source import ClassSizes
from curvetune.errors import ConfigError, DataError

REAL = Path(os.environ.get("CURVETUNE_TEST_DATA") or Path(__file__).parents[3] / "shared" / "data")
needs_real_data = pytest.mark.skipif(
    not REAL.is_dir(), reason=f"no {REAL}: set CURVETUNE_TEST_DATA to a folder with CIFAR"
)


# ---------------------------------------------------------------- digits


def test_digits_are_scikit_learns_images_as_raw_pixels() -> None:
    from sklearn.datasets import load_digits

    expected = load_digits()
    digits = curvetune.data.load("digits")
    found = np.concatenate([digits.train.x, digits.test.x]).reshape(-1, 64)
    assert found.dtype == np.uint8
    assert (len(digits.train), len(digits.test)) == (1297, 500)
    assert sorted(map(bytes, found)) == sorted(map(bytes, expected.data.astype(np.uint8)))
    for k in range(10):
        images = expected.images[expected.target == k]
        np.testing.assert_array_equal(digits.test.x[digits.test.y == k, 0], images[-50:])
        np.testing.assert_array_equal(digits.train.x[digits.train.y == k, 0], images[:-50])


def test_digits_know_how_they_are_fed_to_a_classifier() -> None:
    digits = curvetune.data.load("digits")
    assert digits.train.x.shape[1:] == (1, 8, 8)
    assert digits.num_classes == len(digits.class_names) == 10
    assert digits.mean == pytest.approx([digits.train.x.mean()], abs=1e-4)
    assert digits.std == pytest.approx([digits.train.x.std()], abs=1e-4)
    assert (digits.pad, digits.flip) == (1, False)


def test_the_labels_of_digits_come_without_its_images() -> None:
    labels = curvetune.data.train_labels("digits")
    assert labels is not None
    np.testing.assert_array_equal(labels, curvetune.data.load("digits").train.y)


def test_planning_digits_and_parquet_imports_neither_pytorch_nor_scikit_learn(
    cifar_dir: Path,
) -> None:
    code = (
        "import sys, pathlib, curvetune.data as data\n"
        "for name, folder in (('digits', None), ('cifar10', pathlib.Path(sys.argv[1]))):\n"
        "    assert data.digest(name, folder)\n"
        "    assert data.train_labels(name, folder).any()\n"
        "print({'torch', 'torchvision', 'sklearn'} & set(sys.modules) or 'none')"
    )
    command = [sys.executable, "-c", code, str(cifar_dir)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "none\n"


def test_an_unknown_source_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ConfigError, match=r"'cifar1O'.*did you mean 'cifar10'.*digits, cifar10"):
        curvetune.data.digest("cifar1O")


# ---------------------------------------------------------------- CIFAR as Parquet


@pytest.fixture
def cifar_dir(tmp_path: Path) -> Path:
    """Return a --data-dir with a tiny cifar10."""
    write_cifar(tmp_path / "data" / "cifar10")
    return tmp_path / "data"


@pytest.mark.parametrize(
    ("name", "column", "image_format"),
    [("cifar10", "label", "WEBP"), ("cifar10", "label", "PNG"), ("cifar100", "fine_label", "WEBP")],
)
def test_parquet_files_are_read_in_order_and_pixel_by_pixel(
    tmp_path: Path, name: str, column: str, image_format: str
) -> None:
    write_cifar(tmp_path, column, image_format)
    data = curvetune.data.load(name, tmp_path)
    np.testing.assert_array_equal(data.train.x, images(5, seed=0).transpose(0, 3, 1, 2))
    np.testing.assert_array_equal(data.test.x, images(2, seed=1).transpose(0, 3, 1, 2))
    assert data.train.y.tolist() == [0, 1, 2, 0, 1]
    assert data.test.y.tolist() == [0, 1]
    assert (data.train.x.dtype, data.train.y.dtype) == (np.uint8, np.int64)
    assert (data.name, data.class_names) == (name, tuple(NAMES_OF.get(column, NAMES)))
    assert (data.pad, data.flip) == (4, True)


def test_an_image_without_colours_gets_three_equal_ones(tmp_path: Path) -> None:
    grey = images(2, seed=0)[..., 0]
    for split in ("train", "test"):
        contents = [encoded(image, "PNG") for image in grey]
        write_parquet(tmp_path / f"{split}-0.parquet", contents, [2, 1])
    x = curvetune.data.load("cifar10", tmp_path).train.x
    np.testing.assert_array_equal(x, np.stack([grey] * 3, axis=1))


def test_the_labels_of_parquet_files_come_without_decoding_an_image(tmp_path: Path) -> None:
    for split in ("train", "test"):
        write_parquet(tmp_path / f"{split}-0.parquet", [b"not an image"] * 2, [2, 1])
    labels = curvetune.data.train_labels("cifar10", tmp_path)
    assert labels is not None
    assert labels.tolist() == [2, 1]


def test_the_folder_of_the_name_goes_before_the_data_dir_itself(cifar_dir: Path) -> None:
    write_cifar(cifar_dir, column="fine_label")  # cifar100's files, beside the folder cifar10
    assert len(curvetune.data.load("cifar10", cifar_dir).train) == 5
    assert len(curvetune.data.load("cifar100", cifar_dir).train) == 5


def test_a_digest_is_of_the_content_and_not_of_the_place(cifar_dir: Path, tmp_path: Path) -> None:
    shutil.copytree(cifar_dir / "cifar10", tmp_path / "elsewhere")
    digest = curvetune.data.digest("cifar10", cifar_dir)
    assert curvetune.data.digest("cifar10", tmp_path / "elsewhere") == digest
    assert len(bytes.fromhex(digest)) >= 8


@pytest.mark.parametrize("name", ["train-00001-of-00002", "test-00000-of-00001"])
def test_a_digest_changes_with_one_byte_of_one_file(cifar_dir: Path, name: str) -> None:
    before = curvetune.data.digest("cifar10", cifar_dir)
    path = cifar_dir / "cifar10" / f"{name}.parquet"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert curvetune.data.digest("cifar10", cifar_dir) != before


def _truncate(folder: Path) -> None:
    path = folder / "train-00001-of-00002.parquet"
    path.write_bytes(path.read_bytes()[:-100])


def _lose_a_shard(folder: Path) -> None:
    (folder / "train-00000-of-00002.parquet").unlink()


def _lose_the_test_set(folder: Path) -> None:
    (folder / "test-00000-of-00001.parquet").unlink()


def _break_an_image(folder: Path) -> None:
    good = encoded(images(1, 0)[0], "PNG")
    write_parquet(folder / "test-00000-of-00001.parquet", [good, good[:60]], [0, 1])


def _change_a_size(folder: Path) -> None:
    good = encoded(images(1, 0)[0][:, :16], "PNG")
    write_parquet(folder / "test-00000-of-00001.parquet", [good], [0])


def _miss_a_label(folder: Path) -> None:
    good = encoded(images(1, 0)[0], "PNG")
    write_parquet(folder / "train-00001-of-00002.parquet", [good, good], [0, None])


def _exceed_the_labels(folder: Path) -> None:
    good = encoded(images(1, 0)[0], "PNG")
    write_parquet(folder / "train-00001-of-00002.parquet", [good, good], [0, 3])


def _forget_the_names(folder: Path) -> None:
    good = encoded(images(1, 0)[0], "PNG")
    write_parquet(folder / "train-00000-of-00002.parquet", [good], [0], names=None)


def _rename_the_column(folder: Path) -> None:
    write_cifar(folder, column="target")


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (_truncate, "train-00001-of-00002.parquet: cannot be read as Parquet.*again"),
        (_lose_a_shard, "cifar10: found 1 train-.*there are 2; copy all"),
        (_lose_the_test_set, "no cifar10 there; looked"),
        (_break_an_image, "test-00000-of-00001.parquet: row 1: cannot be decoded"),
        (_change_a_size, r"test-00000-of-00001.parquet: row 0.*\(32, 16\).*\(32, 32\)"),
        (
            _miss_a_label,
            "train-00001-of-00002.parquet: row 1 has no label; allowed is a whole number",
        ),
        (
            _exceed_the_labels,
            "train-00001-of-00002.parquet: row 1 has label 3; allowed is a whole number",
        ),
        (_forget_the_names, "train-00000-of-00002.parquet.*no names of the classes of label"),
        (
            _rename_the_column,
            "the columns of train-00000-of-00002.parquet are img, target, and cifar10 has img and",
        ),
    ],
)
def test_bad_parquet_files_are_named_with_what_is_wrong(
    cifar_dir: Path, damage: Callable[[Path], None], named: str
) -> None:
    damage(cifar_dir / "cifar10")
    with pytest.raises(DataError, match=named):
        curvetune.data.load("cifar10", cifar_dir)


@pytest.mark.parametrize(
    "ask", [curvetune.data.load, curvetune.data.train_labels, curvetune.data.digest]
)
def test_a_data_dir_without_the_files_is_refused_with_what_was_looked_for(
    tmp_path: Path, ask: Callable[[str, Path], object]
) -> None:
    with pytest.raises(DataError) as caught:
        ask("cifar100", tmp_path / "nowhere")
    for part in ("nowhere", "train-*.parquet", "cifar-100-python", "--data-dir", "download"):
        assert part in str(caught.value)


# ---------------------------------------------------------------- CIFAR's archive


def write_archive(folder: Path) -> Archive:
    """Write an archive of 4 + 2 random images in the original's form, and return its facts."""
    folder.mkdir(parents=True)
    flat = images(6, seed=2).transpose(0, 3, 1, 2).reshape(6, 3072)
    parts = {
        "one": {"data": flat[:2], "labels": [2, 0]},
        "two": {"data": flat[2:4], "labels": [1, 1]},
        "test": {"data": flat[4:], "labels": [0, 2]},
        "meta": {"label_names": NAMES},
    }
    files = {}
    for name, content in parts.items():
        (folder / name).write_bytes(pickle.dumps(content))
        files[name] = (name, hashlib.md5((folder / name).read_bytes()).hexdigest())
    return Archive(
        folder=folder.name,
        train=(files["one"], files["two"]),
        test=(files["test"],),
        meta=files["meta"],
        labels="labels",
        names="label_names",
        sizes=ClassSizes((1, 2, 1), (1, 0, 1)),
    )


def test_the_archive_is_read_in_order_wherever_it_lies(tmp_path: Path) -> None:
    source = Cifar("cifar10", "label", write_archive(tmp_path / "cifar10" / "batches"))
    for data_dir in (tmp_path, tmp_path / "cifar10"):
        data = source.load(data_dir)
        x = np.concatenate([data.train.x, data.test.x])
        np.testing.assert_array_equal(x, images(6, seed=2).transpose(0, 3, 1, 2))
        assert (data.train.y.tolist(), data.test.y.tolist()) == ([2, 0, 1, 1], [0, 2])
        assert data.class_names == tuple(NAMES)
        labels = source.train_labels(data_dir)
        assert labels is not None
        assert labels.tolist() == [2, 0, 1, 1]


def test_an_archive_file_that_is_not_the_published_one_is_never_unpickled(tmp_path: Path) -> None:
    source = Cifar("cifar10", "label", write_archive(tmp_path / "batches"))

    class Trap:
        def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
            return os.mkdir, (str(tmp_path / "sprung"),)

    (tmp_path / "batches" / "two").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(DataError, match=r"two: its MD5 is .* allowed is the published"):
        source.train_labels(tmp_path)
    assert not (tmp_path / "sprung").exists()


def test_a_missing_archive_file_is_named(tmp_path: Path) -> None:
    source = Cifar("cifar10", "label", write_archive(tmp_path / "batches"))
    (tmp_path / "batches" / "test").unlink()
    with pytest.raises(DataError, match=r"batches/test: cannot be read.*delete .*batches"):
        source.load(tmp_path)


@pytest.mark.parametrize(
    ("source", "published"), [(CIFAR10, datasets.CIFAR10), (CIFAR100, datasets.CIFAR100)]
)
def test_the_archive_is_the_one_that_torchvision_checks(
    source: Cifar, published: type[datasets.CIFAR10]
) -> None:
    archive = source.archive
    assert archive.folder == published.base_folder
    assert [list(file) for file in archive.train] == published.train_list
    assert [list(file) for file in archive.test] == published.test_list
    assert archive.meta == (published.meta["filename"], published.meta["md5"])
    assert archive.names == published.meta["key"]


def test_before_the_download_the_digest_is_known_and_the_labels_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CURVETUNE_CACHE", str(tmp_path / "cache"))
    before = curvetune.data.digest("cifar100")
    assert curvetune.data.train_labels("cifar100") is None
    assert not (tmp_path / "cache").exists()  # asking has downloaded nothing
    (tmp_path / "cache" / "cifar-100-python").mkdir(parents=True)
    assert curvetune.data.digest("cifar100") == before
    assert curvetune.data.digest("cifar100", tmp_path / "cache") == before
    assert curvetune.data.digest("cifar10") != before


def test_a_download_is_made_once_and_leaves_nothing_else_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = write_archive(tmp_path / "published" / "cifar-10-batches-py")
    calls = []

    def download(root: str, *, download: bool) -> None:
        calls.append(download)
        shutil.copytree(tmp_path / "published" / archive.folder, Path(root, archive.folder))

    monkeypatch.setenv("CURVETUNE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(datasets, "CIFAR10", download)
    source = Cifar("cifar10", "label", archive)
    first, second = source.load(None), source.load(None)
    np.testing.assert_array_equal(first.train.x, second.train.x)
    assert calls == [True]
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [archive.folder]


def test_a_failed_download_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CURVETUNE_CACHE", str(tmp_path))
    # Port 9 discards; nothing listens there, so torchvision's own download fails at once.
    monkeypatch.setattr(datasets.CIFAR10, "url", "http://127.0.0.1:9/cifar.tar.gz")
    with pytest.raises(DataError, match=f"cifar10: the download into {tmp_path}.*--data-dir"):
        curvetune.data.load("cifar10")
    assert list(tmp_path.iterdir()) == []


# ---------------------------------------------------------------- the real images


# The first labels of the official Python release, as seen in any tutorial; means: README.md there.
CIFAR10_FACTS = ("cifar10", [6, 9, 9, 4, 1], [3, 8, 8, 0, 6], 10, [0.4914, 0.4822, 0.4465])
CIFAR100_FACTS = (
    "cifar100",
    [19, 29, 0, 11, 1],
    [49, 33, 72, 51, 71],
    100,
    [0.5071, 0.4865, 0.4409],
)


@needs_real_data
@pytest.mark.parametrize(
    ("name", "first", "first_test", "num_classes", "means"),
    [
        pytest.param(*CIFAR10_FACTS, id="cifar10"),
        pytest.param(*CIFAR100_FACTS, id="cifar100", marks=pytest.mark.slow),
    ],
)
def test_the_real_images_are_whole_and_in_the_official_order(
    name: str, first: list[int], first_test: list[int], num_classes: int, means: list[float]
) -> None:
    data = curvetune.data.load(name, REAL)
    assert data.train.x.shape == (50_000, 3, 32, 32)
    assert data.test.x.shape == (10_000, 3, 32, 32)
    assert data.train.y[:5].tolist() == first
    assert data.test.y[:5].tolist() == first_test
    assert data.num_classes == num_classes
    assert np.bincount(data.test.y).tolist() == [10_000 // num_classes] * num_classes
    np.testing.assert_allclose(data.train.x.mean(axis=(0, 2, 3)) / 255, means, atol=1e-4)


@needs_real_data
@pytest.mark.parametrize(
    ("name", "first", "num_classes"),
    [("cifar10", CIFAR10_FACTS[1], 10), ("cifar100", CIFAR100_FACTS[1], 100)],
)
def test_the_real_labels_are_balanced_and_in_the_official_order(
    name: str, first: list[int], num_classes: int
) -> None:
    labels = curvetune.data.train_labels(name, REAL)
    assert labels is not None
    assert labels[:5].tolist() == first
    assert np.bincount(labels).tolist() == [50_000 // num_classes] * num_classes
