"""Labels that people gave: read as published, refused unless they are of these images."""

import logging
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from human_files import KEYS, columns10, noisy, write_ordered, write_pt

from curvetune.config import HUMAN_KINDS
from curvetune.data import train_labels
from curvetune.data.people.labels import human_labels, labels_digest, labels_or_none
from curvetune.errors import DataError

REAL = Path(os.environ.get("CURVETUNE_TEST_DATA") or Path(__file__).parents[3] / "shared" / "data")
Y = np.arange(60, dtype=np.int64) * 7 % 10
ORDER = np.random.default_rng(3).permutation(60)


@pytest.fixture(autouse=True)
def _nowhere_else(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("CURVETUNE_HUMAN_LABELS", raising=False)
    monkeypatch.setenv("CURVETUNE_CACHE", str(tmp_path / "cache"))


def test_each_kind_is_the_column_that_pytorch_reads_too(tmp_path: Path) -> None:
    path = write_pt(tmp_path, columns10(Y))
    found = human_labels("cifar10", tmp_path, Y)
    allowed = [
        np._core.multiarray._reconstruct,  # type: ignore[attr-defined]
        *(np.ndarray, np.dtype, np.dtypes.Int64DType),
    ]
    with torch.serialization.safe_globals(allowed):
        reference = torch.load(path, weights_only=True)
    assert tuple(found) == HUMAN_KINDS["cifar10"]
    for kind, key in zip(found, KEYS, strict=True):
        assert np.array_equal(found[kind], reference[key])
        assert found[kind].dtype == np.int64


def test_cifar100_has_one_kind_beside_lists_of_coarse_labels(tmp_path: Path) -> None:
    y = np.arange(200, dtype=np.int64) % 100
    given = noisy(y, 0.4, 100, 0)
    coarse = {"clean_coarse_label": [1] * 200, "noisy_coarse_label": [2] * 200}
    content = {"clean_label": y, "noisy_label": given, **coarse}
    write_pt(tmp_path, content, "CIFAR-100_human.pt")
    (labels,) = human_labels("cifar100", tmp_path, y).values()
    assert np.array_equal(labels, given)


@pytest.mark.parametrize("inside", ["", "cifar-10-100n/data", "cifar10/data", "cifar-10-100n"])
def test_the_file_is_found_beside_the_images(tmp_path: Path, inside: str) -> None:
    write_pt(tmp_path / inside, columns10(Y))
    assert len(human_labels("cifar10", tmp_path, Y)) == 5


def test_the_environment_names_another_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_pt(tmp_path / "elsewhere", columns10(Y))
    monkeypatch.setenv("CURVETUNE_HUMAN_LABELS", str(tmp_path / "elsewhere"))
    assert len(human_labels("cifar10", tmp_path / "images", Y)) == 5


def test_a_missing_file_is_called_by_its_public_name(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"CIFAR-10_human\.pt is not there.*CURVETUNE_HUMAN_LABELS"):
        human_labels("cifar10", tmp_path, Y)
    assert labels_or_none("cifar10", tmp_path, Y) == {}


def test_the_second_form_gives_the_same_labels(tmp_path: Path) -> None:
    columns = columns10(Y)
    write_pt(tmp_path / "a", columns)
    write_ordered(tmp_path / "b", columns, ORDER)
    first, second = (human_labels("cifar10", tmp_path / one, Y) for one in "ab")
    for kind, labels in first.items():
        assert labels_digest(labels) == labels_digest(second[kind])
        assert np.array_equal(labels, second[kind])


def test_the_second_form_needs_its_order(tmp_path: Path) -> None:
    path = write_ordered(tmp_path, columns10(Y), None)
    with pytest.raises(DataError, match=r"image_order_c10\.npy, which says .* is not beside it"):
        human_labels("cifar10", tmp_path, Y)
    np.save(path.with_name("image_order_c10.npy"), np.zeros(60, np.int64))
    with pytest.raises(DataError, match="is no order of 60 rows"):
        human_labels("cifar10", tmp_path, Y)


def test_other_clean_labels_are_refused_with_the_first_row(tmp_path: Path) -> None:
    clean = Y.copy()
    clean[[17, 40]] = (clean[[17, 40]] + 1) % 10
    write_pt(tmp_path, columns10(clean))
    wanted = rf"differs from the data's label in 2 of 60 rows, first in row 17: {clean[17]} there"
    with pytest.raises(DataError, match=wanted):
        human_labels("cifar10", tmp_path, Y)


def test_another_order_is_called_so_where_it_is_known(tmp_path: Path) -> None:
    write_pt(tmp_path / "a", columns10(Y[ORDER]))  # a file that somebody has put in that order
    with pytest.raises(DataError, match="one is likely in another order of rows"):
        human_labels("cifar10", tmp_path / "a", Y)
    np.save(tmp_path / "a" / "image_order_c10.npy", ORDER)
    with pytest.raises(DataError, match="The file is in the order of TensorFlow Datasets"):
        human_labels("cifar10", tmp_path / "a", Y)
    write_pt(tmp_path / "b", columns10(Y))
    np.save(tmp_path / "b" / "image_order_c10.npy", ORDER)
    with pytest.raises(DataError, match="The data is in the order of TensorFlow Datasets"):
        human_labels("cifar10", tmp_path / "b", Y[ORDER])


class _Runs:
    """Pickled as a call that would leave a folder behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (str(self.path),))


@pytest.mark.parametrize("form", ["pt", "npy"])
def test_a_pickle_that_would_run_code_is_refused_and_runs_nothing(
    tmp_path: Path, form: str
) -> None:
    trace = tmp_path / "trace"
    content: Any = {**columns10(Y), "more": _Runs(trace)}
    if form == "pt":
        path = tmp_path / "CIFAR-10_human.pt"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("CIFAR-10_human/data.pkl", pickle.dumps(content, protocol=2))
    else:
        np.save(tmp_path / "CIFAR-10_human_ordered.npy", content, allow_pickle=True)
        np.save(tmp_path / "image_order_c10.npy", ORDER)
    with pytest.raises(DataError, match=r"wants to call (posix|nt)\.mkdir.*nothing of it was run"):
        human_labels("cifar10", tmp_path, Y)
    assert not trace.exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"aggre_label": Y + 9}, r"column aggre_label, row 1: label 16; allowed are 0 to 9"),
        ({"aggre_label": Y[:50]}, "not of one length"),
        ({"aggre_label": Y / 2}, "column aggre_label: no row of whole numbers"),
        ({"aggre_label": torch.tensor(Y)}, "it holds tensors|wants to call torch"),
        ({"aggre_label": None}, "column aggre_label: no row of whole numbers"),
    ],
)
def test_a_wrong_column_is_named(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    write_pt(tmp_path, columns10(Y) | change)
    with pytest.raises(DataError, match=words):
        human_labels("cifar10", tmp_path, Y)


def test_what_is_no_such_file_is_refused(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "CIFAR-10_human.pt"
    for content in (b"", b"not a zip", b"PK\x03\x04 cut off"):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"CIFAR-10_human\.pt: cannot be read"):
            human_labels("cifar10", tmp_path, Y)
    with caplog.at_level(logging.WARNING):
        assert labels_or_none("cifar10", tmp_path, Y) == {}  # the images alone can be used
    assert "cannot be read" in caplog.text
    write_pt(tmp_path, [1, 2])
    with pytest.raises(DataError, match="holds no dictionary but list"):
        human_labels("cifar10", tmp_path, Y)
    write_pt(tmp_path, {"clean_label": Y})
    with pytest.raises(DataError, match="has no column aggre_label; it has clean_label"):
        human_labels("cifar10", tmp_path, Y)


def test_labels_of_fewer_images_are_refused(tmp_path: Path) -> None:
    write_pt(tmp_path, columns10(Y[:50]))
    with pytest.raises(DataError, match="is of 50 images, and the data has 60 to train on"):
        human_labels("cifar10", tmp_path, Y)


@pytest.mark.skipif(not REAL.is_dir(), reason=f"no {REAL}: set CURVETUNE_TEST_DATA to a folder")
def test_the_real_cifar_takes_a_file_in_the_order_of_the_archive(tmp_path: Path) -> None:
    y = train_labels("cifar10", REAL)
    assert y is not None
    columns = columns10(y)
    write_pt(tmp_path / "cifar-10-100n" / "data", columns)
    found = human_labels("cifar10", tmp_path, y)
    assert np.array_equal(found["human-worse"], columns["worse_label"])
    assert round(float((found["human-worse"] != y).mean()), 2) == 0.40
    write_pt(tmp_path / "cifar-10-100n" / "data", columns10(y[::-1]))
    with pytest.raises(DataError, match="likely in another order of rows"):
        human_labels("cifar10", tmp_path, y)
