"""Cells that are trained on rows of a table, from the images to the result."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from image_folder import encoded, picture
from public_sets import write

from curvetune.cell import run_cell
from curvetune.config import CellConfig
from curvetune.data import Folder, TableSource
from curvetune.errors import DataError
from curvetune.grids.splits import stored_split
from curvetune.store import CellStore

N, NUM_TEST = 40, 6


def write_list(root: Path, *, flags: bool) -> Path:
    """Write two classes: every fifth image is of the clean set, every third has a flag."""
    rows = ["path,label,split,clean,verified"]
    root.mkdir()
    for k in range(N + NUM_TEST):
        (root / f"{k:03}.png").write_bytes(encoded(picture(k, 8, 8)))
        flag = str(k // 3 % 2) if flags and k % 3 == 0 and k % 5 else ""
        clean = "1" if k % 5 == 0 else ""
        rows.append(f"{k:03}.png,c{k % 2},{'train' if k < N else 'test'},{clean},{flag}")
    write(root / "list.csv", *rows)
    return root


def cell(method: dict[str, Any], **data: Any) -> CellConfig:
    return CellConfig.model_validate(
        {
            "data": {"name": "list", "image_size": 8, "meta_per_class": 3} | data,
            "bias": {"noise": "real"},
            "model": {"name": "resnet8"},
            "allocate": {"epochs": 2, "warmup": 0, "milestones": [1], "batch_size": 16},
            "method": method,
            "seed": 0,
        }
    )


def trained(root: Path, storage: Path, config: CellConfig) -> dict[str, np.ndarray[Any, Any]]:
    source = TableSource(config.data.name, 8)
    digest = source.digest(root)
    run_cell(config, digest, source.load(root), storage, device=torch.device("cpu"))
    split = stored_split(storage, config, digest)
    samples = CellStore(storage).samples(config.cell_id(digest))
    return samples | split.arrays()


def test_the_clean_set_of_a_list_is_its_meta_set(tmp_path: Path) -> None:
    root = write_list(tmp_path / "images", flags=False)
    made = trained(root, tmp_path / "storage", cell({"name": "mw-net-noise"}))
    assert (made["meta"] % 5 == 0).all()
    assert len(made["meta"]) == 6
    assert made["train"].tolist() == [k for k in range(N) if k % 5]


def test_cleannet_learns_from_the_flags_of_a_list(tmp_path: Path) -> None:
    config = cell({"name": "cleannet", "cleannet_steps": 30, "rounds": [0.5]})
    weights = [
        trained(write_list(tmp_path / name, flags=name == "with"), tmp_path / f"{name}-s", config)
        for name in ("with", "without")
    ]
    assert not np.array_equal(weights[0]["weight"], weights[1]["weight"])
    assert np.array_equal(weights[0]["train"], weights[1]["train"])


def test_a_list_and_a_folder_of_the_same_images_are_the_same_data(tmp_path: Path) -> None:
    rows = ["path,label"]
    for k in range(12):
        file = f"{'train' if k < 8 else 'test'}/c{k % 2}/{k:02}.png"
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_bytes(encoded(picture(k, 20, 12)))
        rows.append(f"{file},c{k % 2}")
    rows[1:] = sorted(rows[1:9]) + sorted(rows[9:])
    write(tmp_path / "list.csv", *rows)
    folder, listed = Folder(16).load(tmp_path), TableSource("list", 16).load(tmp_path)
    for one, other in ((folder.train, listed.train), (folder.test, listed.test)):
        np.testing.assert_array_equal(one.x, other.x[np.arange(len(other))])
        np.testing.assert_array_equal(one.y, other.y)
    assert (folder.mean, folder.std, folder.pad) == (listed.mean, listed.std, listed.pad)


def test_the_digest_is_of_what_is_used_wherever_it_lies(tmp_path: Path) -> None:
    a, b = (write_list(tmp_path / name, flags=True) for name in ("a", "b"))
    digest = TableSource("list", 8).digest(a)
    assert TableSource("list", 8).digest(b) == digest
    (b / "003.png").write_bytes(encoded(picture(99, 8, 8)))
    assert TableSource("list", 8).digest(b) != digest
    write(
        b / "list.csv", *(a / "list.csv").read_text().replace("c0,train,,0", "c0,train,,1").split()
    )
    (b / "003.png").write_bytes((a / "003.png").read_bytes())
    assert TableSource("list", 8).digest(b) != digest  # a flag is another one


def test_bad_images_are_named_or_left_out_with_all_that_is_known_of_them(tmp_path: Path) -> None:
    root = write_list(tmp_path / "images", flags=True)
    (root / "000.png").write_bytes(b"no image")
    (root / "007.png").unlink()
    with pytest.raises(
        DataError, match=r"data.name=list: 2 of 46 images cannot be used\n  000.png"
    ):
        TableSource("list", 8).load(root)
    whole = TableSource("list", 8, "skip")
    left, report = whole.load(root), whole.report(root)
    assert [file for file, _ in report.bad] == ["000.png", "007.png"]
    assert report.train == len(left.train) == N - 2
    kept = [k for k in range(N) if k not in (0, 7)]
    assert whole.train_files(root) == tuple(f"{k:03}.png" for k in kept)
    assert left.clean is not None
    assert left.verified is not None
    assert [kept[k] for k in left.clean] == [k for k in range(1, N) if k % 5 == 0]
    flagged = [k for k in range(N) if k % 3 == 0 and k % 5]
    assert [kept[k] for k in np.flatnonzero(left.verified >= 0)] == flagged


def test_an_image_that_is_not_there_is_named_once(tmp_path: Path) -> None:
    rows = [f"{k}.png,c{k % 2},{'train' if k < 4 else 'test'}" for k in range(8)]
    write(tmp_path / "list.csv", "path,label,split", *rows, "gone.png,c0,train")
    for k in range(8):
        (tmp_path / f"{k}.png").write_bytes(encoded(picture(k, 8, 8)))
    ((name, reason),) = TableSource("list", 8, "skip").report(tmp_path).bad
    assert name == "gone.png"
    assert reason.startswith("cannot be read")


def test_a_list_is_found_from_another_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_list(tmp_path / "images", flags=False)
    monkeypatch.setenv("CURVETUNE_CACHE_GB", "0")  # so that each image is read again
    monkeypatch.chdir(tmp_path)
    images = TableSource("list", 8).load(Path("images"))
    monkeypatch.chdir("/")
    assert images.train.x[np.arange(2)].shape == (2, 3, 8, 8)
