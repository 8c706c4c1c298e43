"""`curvetune data check`: what a folder is, what is wrong with it, and what to run."""

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from image_folder import write_images
from public_sets import (
    hub_table,
    image_bytes,
    put,
    write,
    write_animal10n,
    write_clothing1m,
    write_cnwl,
    write_food101n,
    write_hub,
    write_imagenet_lt,
    write_tar,
    write_webvision,
)
from tiny_cifar import encoded, images, write_parquet
from typer.testing import CliRunner

from curvetune.cli import app
from curvetune.data.own.look_alikes import CLASSES
from curvetune.errors import DataError
from curvetune.status.doctor import Subject
from curvetune.status.doctor.software import data


def write_hub_set(root: Path) -> None:
    for split, first in (("train", 0), ("test", 50)):
        write_hub(
            root / f"data/{split}-00000-of-00001.parquet", hub_table(first, [0, 1], ("a", "b"))
        )


def write_shard_set(root: Path) -> None:
    for split, first in (("train", 0), ("val", 50)):
        pairs = [(f"{k}.png", image_bytes(first + k), f"{k}.cls", b"%d" % k) for k in range(2)]
        members = {name: content for a, b, c, d in pairs for name, content in ((a, b), (c, d))}
        write_tar(root / f"{split}-000000.tar", members)


def write_list(root: Path) -> None:
    rows = [f"{k}.png,{'ab'[k % 2]},{'train' if k < 6 else 'test'}" for k in range(10)]
    write(root / "list.csv", "path,label,split", *rows)
    for k in range(10):
        put(root / f"{k}.png", k)


def write_webvision_google(root: Path) -> None:
    write_webvision(root)
    (root / "info/train_filelist_flickr.txt").unlink()


SETS: dict[str, Callable[[Path], None]] = {
    "folder": write_images,
    "clothing1m": write_clothing1m,
    "food101n": write_food101n,
    "webvision_mini": write_webvision_google,
    "animal10n": write_animal10n,
    "cnwl_red": write_cnwl,
    "imagenet_lt": write_imagenet_lt,
    "hf": write_hub_set,
    "shards": write_shard_set,
    "list": write_list,
}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CURVETUNE_CACHE", str(tmp_path / "cache"))


def checked(*words: str, code: int = 0) -> dict[str, Any]:
    result = CliRunner().invoke(app, ["data", "check", *words, "--json"])
    assert result.exit_code == code, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


@pytest.mark.parametrize("name", SETS)
def test_every_form_is_known_and_the_next_command_plans_a_grid_on_it(
    name: str, tmp_path: Path
) -> None:
    root = tmp_path / "images"
    SETS[name](root)
    found = checked(str(root))
    assert (found["name"], found["problem"]) == (name, None)
    assert found["report"]["bad"] == []
    assert sum(row["train"] for row in found["classes"]) > 0
    assert all(row["test"] > 0 for row in found["classes"])
    words = shlex.split(found["command"])
    assert words[:2] == ["curvetune", "plan"]
    options = ["--set", "train_limit=4", "--storage", str(tmp_path / "storage")]
    result = CliRunner().invoke(app, [*words[1:], *options])
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize(
    ("name", "column", "classes"),
    [
        ("cifar10", "label", 10),
        ("cifar100", "fine_label", 100),
        ("hf", "label", 10),
        ("hf", "fine_label", 100),
    ],
)
def test_cifar_is_told_from_other_parquet_files(
    name: str, column: str, classes: int, tmp_path: Path
) -> None:
    contents = [encoded(image, "PNG") for image in images(classes, 0)]
    names = sorted(CLASSES.get(name, [f"class {k}" for k in range(classes)]))
    for split in ("train", "test"):
        path = tmp_path / f"{split}-00000-of-00001.parquet"
        write_parquet(path, contents, range(classes), column, names)
    found = checked(str(tmp_path), "--quick")
    assert (found["name"], len(found["classes"])) == (name, classes)
    assert found["also"] == (["hf"] if name != "hf" else [])


def test_what_is_missing_unreadable_and_doubled_is_named(tmp_path: Path) -> None:
    write_list(tmp_path)
    (tmp_path / "1.png").unlink()
    (tmp_path / "3.png").write_bytes(image_bytes(3)[:40])
    put(tmp_path / "8.png", 0)
    found = checked(str(tmp_path))
    assert [bad["file"] for bad in found["report"]["bad"]] == ["1.png", "3.png"]
    assert found["report"]["copies"]["test_and_train"] == [{"test": "8.png", "train": "0.png"}]
    assert "--on-bad skip" in found["command"]
    text = CliRunner().invoke(app, ["data", "check", str(tmp_path)]).stdout
    assert "1 of 4 test images are training images too" in text
    assert "3.png: " in text
    assert f"next: {found['command']}" in text


def test_quick_counts_rows_whose_images_are_not_there(tmp_path: Path) -> None:
    write_clothing1m(tmp_path)
    for path in tmp_path.rglob("*.jpg"):
        path.unlink()
    found = checked(str(tmp_path), "--quick")
    assert found["classes"][3] == {"class": "Class 3", "train": 2, "test": 1, "clean": 1}
    assert "no image was opened" in found["notes"][0]


def test_a_form_with_something_wrong_is_told_with_its_line_and_no_command(tmp_path: Path) -> None:
    write_list(tmp_path)
    with (tmp_path / "list.csv").open("a") as file:
        file.write("../x.png,a,train\n")
    found = checked(str(tmp_path), code=2)
    assert "line 12: ../x.png is outside the folder" in found["problem"]
    assert found["command"] is None


def test_another_form_can_be_asked_for(tmp_path: Path) -> None:
    write_webvision(tmp_path)
    found = checked(str(tmp_path), code=2)
    assert found["name"] == "webvision"
    assert found["also"] == ["webvision_mini"]
    assert checked(str(tmp_path), "--as", "webvision_mini")["problem"] is None
    wrong = CliRunner().invoke(app, ["data", "check", str(tmp_path), "--as", "webvison"])
    assert "did you mean 'webvision'?" in str(wrong.exception)


def test_shares_of_wrong_labels_that_are_there_are_listed(tmp_path: Path) -> None:
    write_cnwl(tmp_path)
    split = tmp_path / "mini-imagenet/split"
    (split / "red_noise_nl_0.8").write_bytes((split / "red_noise_nl_0.4").read_bytes())
    found = checked(str(tmp_path), "--quick")
    assert (found["variant"], found["variants"]) == ("0.4", ["0.4", "0.8"])
    assert "data.variant=0.8" in checked(str(tmp_path), "--variant", "0.8")["command"]


def test_a_folder_of_no_form_is_told_all_forms(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["data", "check", str(tmp_path)])
    assert "no form of data that is known" in str(result.exception)
    assert all(f"\n  {name}: " in str(result.exception) for name in SETS)
    result = CliRunner().invoke(app, ["data", "check", str(tmp_path / "none")])
    assert "there is no such folder; allowed is" in str(result.exception)


def test_doctor_says_what_a_folder_is(tmp_path: Path) -> None:
    write_clothing1m(tmp_path)
    (first, *_) = data(Subject(tmp_path, data_dir=tmp_path))
    assert first.status == "ok"
    assert first.found.startswith("clothing1m: 42 rows to train on and 14 to test on")
    (tmp_path / "noisy_label_kv.txt").unlink()
    (first, *_) = data(Subject(tmp_path, data_dir=tmp_path))
    assert first.status == "fail"
    assert "noisy_label_kv.txt is missing" in first.found


@pytest.mark.parametrize(
    ("column", "names", "reason"),
    [
        ("label", ["zebra", "cat", "shark"], "has classes that cifar10 has not: zebra, shark"),
        ("kind", ["cat", "dog"], "columns of .* are img, kind, and cifar10 has img and label"),
    ],
)
def test_another_parquet_set_is_no_cifar10_and_the_command_for_it_is_named(
    column: str, names: list[str], reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CURVETUNE_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "data"
    for part, seed in (("train", 0), ("test", 1)):
        contents = [encoded(image, "PNG") for image in images(12, seed)]
        labels = [k % len(names) for k in range(12)]
        write_parquet(folder / f"{part}-00000-of-00001.parquet", contents, labels, column, names)
    wrong = ["plan", "cifar10", "--data-dir", str(folder)]
    with pytest.raises(DataError, match=f"not cifar10: .*{reason}") as refused:
        CliRunner().invoke(app, wrong, catch_exceptions=False)
    command = re.search(r"`curvetune grid (folder [^`]*)`", str(refused.value))
    assert command is not None
    done = CliRunner().invoke(app, ["plan", *shlex.split(command[1])], catch_exceptions=False)
    assert done.exit_code == 0, done.output
