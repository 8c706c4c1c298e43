"""Corrected labels in the storage: content-addressed, bound to their data, never used damaged."""

import csv
import hashlib
from pathlib import Path

import pytest

from curvetune.errors import ConfigError, CorruptError, StorageError
from curvetune.store.relabels import known_relabels, read_relabel, relabel_content, write_relabel

NAMES = ("a", "b, c", 'd"e')
DATA = "0123456789abcdef" * 4
LABELS = {7: 2, 1: 1, 30: 0}


def write(root: Path, labels: dict[int, int] | None = None, data: str = DATA) -> str:
    return write_relabel(root, relabel_content(labels or LABELS, NAMES, data))


def test_what_is_written_is_read_and_its_name_is_the_hash_of_its_bytes(tmp_path: Path) -> None:
    digest = write(tmp_path)
    path = tmp_path / "relabels" / f"{digest}.csv"
    assert read_relabel(tmp_path, digest, DATA) == LABELS
    assert hashlib.sha256(path.read_bytes()).hexdigest().startswith(digest)
    assert known_relabels(tmp_path) == [digest]
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["sample"], row["label"]) for row in rows] == [
        ("1", "b, c"),
        ("7", 'd"e'),
        ("30", "a"),
    ]


def test_the_address_is_of_labels_and_data_and_of_nothing_else(tmp_path: Path) -> None:
    first = write(tmp_path)
    assert write(tmp_path, dict(reversed(LABELS.items()))) == first
    assert write(tmp_path, {**LABELS, 7: 1}) != first
    assert write(tmp_path, data="f" * 64) != first


def test_damage_is_found_when_read_and_mended_when_written(tmp_path: Path) -> None:
    digest = write(tmp_path)
    path = tmp_path / "relabels" / f"{digest}.csv"
    path.write_bytes(path.read_bytes().replace(b"30,a,0", b"30,b,1"))
    with pytest.raises(CorruptError, match="its content is not what its name says"):
        read_relabel(tmp_path, digest, DATA)
    assert write(tmp_path) == digest
    assert read_relabel(tmp_path, digest, DATA) == LABELS


def test_labels_that_are_not_there_or_of_other_data_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="none yet; `curvetune relabel` makes them"):
        read_relabel(tmp_path, "0" * 16, DATA)
    digest = write(tmp_path)
    near = digest[:-1] + ("0" if digest[-1] != "0" else "1")
    with pytest.raises(ConfigError, match=rf"did you mean '{digest}'\?.*in the storage are"):
        read_relabel(tmp_path, near, DATA)
    with pytest.raises(
        ConfigError, match=f"of other data \\(digest {DATA[:16]}, not {'f' * 16}\\)"
    ):
        read_relabel(tmp_path, digest, "f" * 64)


def test_a_file_with_the_right_hash_that_holds_no_labels_is_refused(tmp_path: Path) -> None:
    for content in (b"sample,label\n1,a\n", b"sample,label,number,data\nx,a,0,1\n"):
        digest = write_relabel(tmp_path, content)
        with pytest.raises(CorruptError, match="no corrected labels"):
            read_relabel(tmp_path, digest, DATA)


def test_a_link_out_of_the_storage_is_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    root = tmp_path / "root"
    root.mkdir()
    (root / "relabels").symlink_to(outside)
    with pytest.raises(StorageError):
        write(root)
    assert list(outside.iterdir()) == []
