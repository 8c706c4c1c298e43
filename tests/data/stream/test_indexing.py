"""One look at every image: which are good, what they are, and no second look without need."""

import hashlib
import os
import time
from pathlib import Path

import numpy as np
import pytest
from image_folder import picture
from PIL import Image
from stream_helpers import SIZE, OnDisk, reference, table_of, write

from curvetune.data import duplicates
from curvetune.data.decode import decode
from curvetune.data.folder import Folder
from curvetune.data.stream import Indexed, index
from curvetune.errors import DataError


@pytest.fixture
def files(tmp_path: Path) -> OnDisk:
    return write(tmp_path / "images")


def indexed(encoded: OnDisk, on_bad: str = "fail", size: int = SIZE) -> Indexed:
    return index(table_of(encoded), size, on_bad)  # type: ignore[arg-type]


def test_the_pixels_are_what_pillow_makes_of_each_file(files: OnDisk) -> None:
    found = indexed(files)
    rows = np.random.default_rng(0).permutation(40)
    np.testing.assert_array_equal(found.pixels[rows], reference(files, rows))
    assert found.pixels.shape == (40, 3, SIZE, SIZE)
    assert found.table is not None
    assert (found.report.train, found.report.test) == (30, 10)


def bad_files(folder: Path) -> dict[str, str]:
    """Write images that cannot be used; return what is said of each."""
    whole = (folder / "0.jpg").read_bytes()
    (folder / "1.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "2.jpg").write_bytes(b"")
    (folder / "3.jpg").unlink()
    (folder / "35.jpg").write_text("no image")
    return {"1.jpg": "truncated", "2.jpg": "empty", "3.jpg": "No such file", "35.jpg": "no image"}


def test_bad_images_are_an_error_that_names_each_file_before_anything_is_trained(
    files: OnDisk,
) -> None:
    expected = bad_files(files.folder)
    with pytest.raises(DataError, match="4 of 40 images cannot be used") as error:
        indexed(files)
    for name, reason in expected.items():
        line = next(line for line in str(error.value).splitlines() if f"{name}:" in line)
        assert reason in line
    assert "--on-bad skip" in str(error.value)


def test_bad_images_are_left_out_of_table_and_pixels_if_asked(files: OnDisk) -> None:
    expected = bad_files(files.folder)
    found = indexed(files, "skip")
    good = [row for row in range(40) if row not in (1, 2, 3, 35)]
    assert [found.table.encoded.name(k) for k in range(36)] == [files.names[row] for row in good]
    assert found.table.train == 27
    np.testing.assert_array_equal(found.table.y, np.array(good) % 3)
    np.testing.assert_array_equal(found.pixels[np.arange(36)], reference(files, good))
    assert {name for name, _ in found.report.bad} == expected.keys()
    assert all(expected[name] in reason for name, reason in found.report.bad)


def test_what_is_known_of_rows_goes_with_them(files: OnDisk) -> None:
    bad_files(files.folder)
    table = table_of(files)
    known = np.arange(30, dtype=np.int64)
    table = type(table)(
        files, 30, table.y, table.class_names, known, known.astype(np.int8), np.array([2, 4, 29])
    )
    found = index(table, SIZE, "skip").table
    good = [row for row in range(30) if row not in (1, 2, 3)]
    assert found.y_true is not None
    assert found.verified is not None
    assert found.clean is not None
    assert found.y_true.tolist() == found.verified.tolist() == good
    assert [good[k] for k in found.clean] == [4, 29]  # row 2 is bad


def test_other_colours_and_depths_are_converted_and_counted(files: OnDisk) -> None:
    picture(5).convert("CMYK").save(files.folder / "5.jpg")
    grey = np.arange(120, dtype=np.uint16).reshape(10, 12) * 500
    Image.fromarray(grey).save(files.folder / "6.jpg", "PNG")
    found = indexed(files)
    assert found.report.converted == {"16-bit": 1, "CMYK": 1, "wrong extension": 1}
    expected = decode((files.folder / "6.jpg").read_bytes(), ".jpg", SIZE).pixels
    np.testing.assert_array_equal(found.pixels[np.array([6])][0], expected)


def test_copies_across_train_and_test_are_found_as_of_a_folder(files: OnDisk) -> None:
    for name in ("7.jpg", "31.jpg"):  # 31 is a test image
        (files.folder / name).write_bytes((files.folder / "4.jpg").read_bytes())
    copies = indexed(files).report.copies
    everything = [
        duplicates.Sample(
            files.names[row],
            row >= 30,
            ("ant", "bee", "cat")[row % 3],
            duplicates.content(reference(files, [row])[0]),
            hashlib.sha256((files.folder / files.names[row]).read_bytes()).hexdigest(),
        )
        for row in range(40)
    ]
    assert copies == duplicates.copies_of(everything)
    assert copies.in_train == 1


def test_the_digest_tells_bytes_labels_and_order_but_not_the_place(tmp_path: Path) -> None:
    digest = indexed(write(tmp_path / "a")).digest
    assert indexed(write(tmp_path / "b")).digest == digest
    other = write(tmp_path / "c")
    (other.folder / "0.jpg").write_bytes((other.folder / "1.jpg").read_bytes())
    table = table_of(write(tmp_path / "a"))
    y = table.y.copy()
    y[0] = 2
    relabelled = type(table)(table.encoded, 30, y, table.class_names)
    digests = {digest, indexed(other).digest, index(relabelled, SIZE, "fail").digest}
    assert len(digests) == 3


def settled(encoded: OnDisk) -> None:
    """Wait until the files' times tell a later change."""
    newest = max(path.stat().st_ctime for path in encoded.files() if path.exists())
    time.sleep(max(0.0, newest + 2.2 - time.time()))


def test_files_that_did_not_change_are_not_read_again(
    files: OnDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    settled(files)
    first = indexed(files)
    monkeypatch.setattr(OnDisk, "read", lambda *args: pytest.fail("a file was read"))
    second = indexed(files)
    assert (second.digest, second.report) == (first.digest, first.report)
    rows = np.arange(40)
    np.testing.assert_array_equal(second.pixels[rows], first.pixels[rows])


def test_a_file_that_is_replaced_with_its_times_and_size_set_back_is_read_again(
    files: OnDisk,
) -> None:
    settled(files)
    before = indexed(files).digest
    path = files.folder / "8.jpg"
    stat, content = path.stat(), bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    settled(files)
    assert indexed(files).digest != before


def test_a_bad_image_that_was_mended_is_good(files: OnDisk) -> None:
    bad_files(files.folder)
    settled(files)
    for _ in range(2):
        assert len(indexed(files, "skip").pixels) == 36
    write(files.folder)
    assert len(indexed(files).pixels) == 40


def test_an_image_that_changes_while_it_is_read_is_an_error_with_its_name(
    files: OnDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    from curvetune.data.stream import survey

    monkeypatch.setattr(survey, "HELD_BYTES", 0)  # so that each is read twice

    class Changing(OnDisk):
        def read(self, positions):  # type: ignore[no-untyped-def]
            found = super().read(positions)
            if 9 in positions:
                (self.folder / "9.jpg").write_bytes(b"other")
            return found

    with pytest.raises(DataError, match=r"9\.jpg \(row 9\): it changed since"):
        index(table_of(Changing(files.folder, files.names)), SIZE, "fail")


def test_a_table_of_a_folder_has_the_pixels_that_the_folder_has(tmp_path: Path) -> None:
    from image_folder import write_images

    write_images(tmp_path / "images")
    folder = Folder(SIZE)
    whole = folder.load(tmp_path / "images")
    names = folder.train_files(tmp_path / "images")
    found = index(table_of(OnDisk(tmp_path / "images", names)), SIZE, "fail")
    np.testing.assert_array_equal(found.pixels[np.arange(len(names))], whole.train.x)
