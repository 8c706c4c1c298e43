"""F14: what is no good image is counted, reported per file, and left out only if that is asked."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from image_folder import encoded, picture, raw_png, write_images
from PIL import Image

from curvetune.data import Folder
from curvetune.data.decode import FORMATS
from curvetune.errors import DataError

pytestmark = pytest.mark.faults

NO_IMAGE = f"no image; allowed are {', '.join(FORMATS)}"
TWO = {"save_all": True, "append_images": [picture(1)]}

# A file's name and content, and the reason why it is bad.
BAD = {
    "empty.png": (b"", "empty file"),
    "truncated.png": (encoded(picture())[:-60], "cannot be decoded (OSError: image file is trunc"),
    "truncated.jpg": (
        encoded(picture(), "JPEG")[:-60],
        "cannot be decoded (OSError: image file is",
    ),
    "header.png": (encoded(picture())[:20], "cannot be decoded"),
    "text.png": (b"this is no image", NO_IMAGE),
    "page.jpg": (b"<html><script>alert(1)</script>", NO_IMAGE),
    "zeros.webp": (bytes(10_000), NO_IMAGE),
    "pickle.png": (b"cos\nsystem\n(S'touch pwned'\ntR.", NO_IMAGE),
    "program.png": (encoded(picture(), "EPS"), NO_IMAGE),  # Pillow would start Ghostscript
    "other.png": (encoded(picture(), "ICO"), NO_IMAGE),
    "bomb.png": (raw_png(60_000, 60_000, 8, 0, b""), "too large; allowed are 89,478,485 pixels"),
    "huge.png": (raw_png(10_000, 9_000, 1, 0, b""), "10000×9000 pixels; allowed are 89,478,485"),
    "claims.png": (raw_png(5_000, 5_000, 8, 2, b"\0"), "cannot be decoded"),
    "no-pixels.png": (raw_png(0, 5, 8, 0, b""), NO_IMAGE),
    "animated.gif": (encoded(picture(), "GIF", **TWO), "2 frames; allowed is a single picture"),
    "animated.png": (encoded(picture(), "PNG", **TWO), "2 frames; allowed is a single picture"),
    "animated.webp": (encoded(picture(), "WEBP", **TWO), "2 frames; allowed is a single picture"),
    "floats.tif": (encoded(picture().convert("F"), "TIFF"), "32 bits per pixel and colour"),
}

_GREY = np.arange(120, dtype=np.uint16).reshape(12, 10) * 500
# A file's name and content, and what is converted.
CONVERTED = {
    "cmyk.jpg": (encoded(picture().convert("CMYK"), "JPEG"), "CMYK"),
    "cmyk.tif": (encoded(picture().convert("CMYK"), "TIFF"), "CMYK"),
    "deep.png": (encoded(Image.fromarray(_GREY)), "16-bit"),
    "deep.tif": (encoded(Image.fromarray(_GREY), "TIFF"), "16-bit"),
    "deep-colours.png": (raw_png(2, 2, 16, 2, b"\0\xff\0\x80\0\0\0" * 4), "16-bit"),
    "one.png": (encoded(picture(0, 1, 1)), "1×1"),
    "palette.gif": (encoded(picture(), "GIF"), "palette"),
    "grey.png": (encoded(picture().convert("L")), "grey"),
    "bits.png": (encoded(picture().convert("1")), "black and white"),
    "glass.png": (encoded(picture().convert("RGBA")), "transparent"),
    "png.jpg": (encoded(picture()), "wrong extension"),
    "jpeg.png": (encoded(picture(), "JPEG"), "wrong extension"),
    "upper.PNG": (encoded(picture()), None),
}


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CURVETUNE_CACHE", str(tmp_path / "cache"))
    write_images(tmp_path / "images")
    return tmp_path / "images"


def spoil(images: Path) -> dict[str, str]:
    """Put every bad file into the training images; return the reasons by file."""
    folder = images / "train" / "bee"
    for name, (content, _) in BAD.items():
        (folder / name).write_bytes(content)
    (folder / "folder.png").mkdir()
    (folder / "dangling.png").symlink_to("nowhere")
    (folder / "loop.png").symlink_to("loop.png")
    os.mkfifo(folder / "pipe.png")
    (folder / "device.png").symlink_to("/dev/zero")
    (images / "train" / "beside.png").write_bytes(encoded(picture()))
    (images / "test" / "dog").mkdir()
    (images / "test" / "dog" / "0.png").write_bytes(encoded(picture()))
    lines = ["file,label", "train/ant/0.png,7", "train/ant/1.png,dog", "train/ant/none.png,bee"]
    (images / "labels.csv").write_text("\n".join(lines))
    found = {f"train/bee/{name}": reason for name, (_, reason) in BAD.items()}
    return found | {
        "train/bee/folder.png": "a folder, not a file",
        "train/bee/dangling.png": "a link that leads to no file",
        "train/bee/loop.png": "a link that leads to no file",
        "train/bee/pipe.png": "not a plain file",
        "train/bee/device.png": "a link that leads to no file",
        "train/beside.png": "in no class folder",
        "test/dog/0.png": "no class 'dog' in train; allowed are ant, bee, cat",
        "train/ant/0.png": "label '7' in labels.csv is a number where other labels are none",
        "train/ant/1.png": "label 'dog' in labels.csv",
        "train/ant/none.png": "no such file",
    }


def test_every_bad_file_is_named_with_its_reason_and_the_others_are_used(images: Path) -> None:
    clean = Folder().load(images)
    expected = spoil(images)
    source = Folder(on_bad="skip")
    report = source.report(images)
    assert [file for file, _ in report.bad] == sorted(expected)
    for file, reason in report.bad:
        assert reason.startswith(expected[file]), file
        assert str(images) not in reason
    data = source.load(images)
    np.testing.assert_array_equal(data.train.x, clean.train.x[2:])  # two have lost their labels
    np.testing.assert_array_equal(data.train.y, clean.train.y[2:])
    np.testing.assert_array_equal(data.test.x, clean.test.x)


def test_bad_files_are_an_error_that_counts_them_and_names_the_first(images: Path) -> None:
    expected = spoil(images)
    with pytest.raises(DataError) as refused:
        Folder().digest(images)
    message = str(refused.value)
    assert f"{len(expected)} of {27 + len(expected) - 2} images cannot be used" in message
    assert message.splitlines()[1].startswith(f"  {min(expected)}: ")
    assert f"and {len(expected) - 5} more" in message
    assert "--on-bad skip" in message


@pytest.mark.parametrize("name", CONVERTED)
def test_what_can_be_converted_is_used_and_counted(images: Path, name: str) -> None:
    content, change = CONVERTED[name]
    (images / "train" / "ant" / f"a-{name}").write_bytes(content)
    data, report = Folder().load(images), Folder().report(images)
    assert report.bad == ()
    assert report.train == 20
    assert report.converted == ({} if change is None else {change: 1})
    x = data.train.x[8]  # after the eight that are named by a digit
    assert x.shape == (3, 32, 32)
    with Image.open(images / "train" / "ant" / f"a-{name}") as image:
        if change not in ("16-bit", "transparent"):
            small = image.convert("RGB").resize((32, 32), Image.Resampling.BILINEAR)
            np.testing.assert_array_equal(x, np.asarray(small).transpose(2, 0, 1))


def test_16_bits_keep_their_upper_8(images: Path) -> None:
    (images / "train" / "ant" / "a.png").write_bytes(encoded(Image.fromarray(_GREY)))
    grey = Image.fromarray((_GREY >> 8).astype(np.uint8)).resize(
        (32, 32), Image.Resampling.BILINEAR
    )
    x = Folder().load(images).train.x[8]
    np.testing.assert_allclose(x, np.stack([np.asarray(grey)] * 3), atol=1)


def test_a_file_that_cannot_be_read_is_bad(images: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    (images / "train" / "ant" / "0.png").chmod(0)
    ((file, reason),) = Folder(on_bad="skip").report(images).bad
    assert (file, reason) == ("train/ant/0.png", "cannot be read (Permission denied)")


def test_a_class_of_bad_images_alone_is_an_error_all_the_same(images: Path) -> None:
    for path in (images / "train" / "cat").iterdir():
        path.write_bytes(b"")
    with pytest.raises(DataError, match=r"train has no usable image of 1 of 3 classes \(cat\)"):
        Folder(on_bad="skip").load(images)


def test_a_folder_of_bad_images_alone_is_an_error_again_and_again(
    images: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for path in images.rglob("*.png"):
        path.write_bytes(b"")
    for _ in range(2):
        with pytest.raises(DataError, match="train has no usable image of 3 of 3 classes"):
            Folder(on_bad="skip").load(images)
    assert caplog.record_tuples == []


@pytest.fixture
def space(tmp_path: Path) -> str:
    text = "base: {data: {name: folder, meta_per_class: 1}}\ngrid: {seed: [0]}"
    (tmp_path / "own.yaml").write_text(text)
    return str(tmp_path / "own.yaml")


def command(*arguments: str, cwd: Path) -> "subprocess.CompletedProcess[str]":
    code = "import sys; from curvetune.cli import main\ntry: main()\nfinally: "
    code += "print('loaded:', *{'ray', 'torch', 'mlflow'} & set(sys.modules), file=sys.stderr)"
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=120,
        check=False,
    )


def test_the_command_exits_2_before_anything_starts(
    images: Path, space: str, tmp_path: Path
) -> None:
    expected = spoil(images)
    done = command("grid", space, "--data-dir", str(images), cwd=tmp_path)
    assert done.returncode == 2
    assert f"{len(expected)} of" in done.stderr
    assert done.stderr.endswith("loaded:\n")
    assert not (tmp_path / "curvetune-results").exists()
    assert not list(tmp_path.rglob("pwned"))


def test_plan_goes_on_without_them_and_lists_all(images: Path, space: str, tmp_path: Path) -> None:
    expected = spoil(images)
    options = ["--data-dir", str(images), "--on-bad", "skip", "--json"]
    done = command("plan", space, *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"left out: {len(expected)} bad images (--on-bad skip)" in done.stderr
    listed = json.loads(done.stdout)["images"]["bad"]
    assert [entry["file"] for entry in listed] == sorted(expected)


def test_the_list_in_the_storage_has_every_file_and_reason(images: Path, tmp_path: Path) -> None:
    from curvetune.known import write_bad_list

    odd = os.fsdecode(b'train/ant/\xff,"\n.png')
    (images / odd).write_bytes(b"")
    source = Folder(on_bad="skip")
    told = write_bad_list(source.report(images), source.digest(images), tmp_path / "storage")
    (path,) = (tmp_path / "storage" / "data").iterdir()
    assert path.name == f"{source.digest(images)}-bad.csv"
    text = path.read_text(encoding="utf-8", errors="surrogateescape")
    assert list(csv.reader(text.splitlines(keepends=True))) == [
        ["file", "reason"],
        [odd, "empty file"],
    ]
    assert told == path
