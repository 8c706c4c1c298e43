"""Cleaned data sets against the suspects that they are without; what was read is as it was."""

import os
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from cleaned import LISTS, contents, done, labels_of, run
from image_folder import encoded, picture, write_images
from public_sets import hub_table, put, write_animal10n, write_hub
from short_cells import train_on
from tiny_cifar import write_cifar

from curvetune import Results, data
from curvetune.cleaning.clean import Wanted, clean
from curvetune.cleaning.target import new_folder
from curvetune.errors import ConfigError, DataError, StorageError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("folder")
    write_images(root / "images")
    train_on(root / "storage", root / "images", "folder", seeds=(0, 1))
    return root


def test_a_folder_is_without_its_worst_suspects_and_itself_unchanged(
    folder: Path, tmp_path: Path
) -> None:
    images, out = folder / "images", tmp_path / "clean"
    before = contents(images)
    args = ("--data-dir", images, "--storage", folder / "storage", "--top", 3, "--out", out)
    said = run("clean", "folder/cross-entropy", *args)
    assert "3 images left out" in said
    frame = Results(folder / "storage").suspects("folder/cross-entropy", 3, images)
    worst = frame["file"].to_list()
    assert contents(images) == before
    after = contents(out)
    assert [row["path"] for row in done(out)] == worst
    assert {row["action"] for row in done(out)} == {"removed"}
    assert after.pop("cleaned.csv")
    assert after == {name: content for name, content in before.items() if name not in worst}
    assert (out / next(iter(after))).is_symlink()
    assert "16 images to train on and 8 to test on" in run("data", "check", out)


def test_a_suspect_that_is_relabelled_moves_to_the_folder_of_the_other_class(
    folder: Path, tmp_path: Path
) -> None:
    images, out = folder / "images", tmp_path / "clean"
    args = ("--data-dir", images, "--storage", folder / "storage", "--share", 0.2)
    run("clean", "folder/cross-entropy", *args, "--relabel", "--copy", "--out", out)
    frame = Results(folder / "storage").suspects("folder/cross-entropy", 4, images)
    other = dict(zip(frame["file"], frame["other_name"], strict=True))
    rows = done(out)
    assert {row["path"]: row["new_label"] for row in rows} == other
    assert len(rows) == 4  # a fifth of 19
    before, after = labels_of("folder", images), labels_of("folder", out)
    assert len(after) == len(before)
    assert not any(path.is_symlink() for path in out.rglob("*"))
    old = contents(images)
    new = {content: name for name, content in contents(out).items()}
    for name, label in other.items():
        assert new[old[name]].split("/")[:2] == ["train", label]
    assert {name: k for name, k in before.items() if name not in other}.items() <= after.items()


def test_a_list_of_corrections_is_followed_and_nothing_else(folder: Path, tmp_path: Path) -> None:
    images, out = folder / "images", tmp_path / "clean"
    corrections = tmp_path / "mine.csv"
    corrections.write_text("sample,label\ntrain/ant/0.png,cat\ntrain/ant/1.png,ant\n")
    args = ("--data-dir", images, "--storage", folder / "storage", "--out", out)
    run("clean", "folder/cross-entropy", *args, "--labels", corrections)
    assert [(row["path"], row["new_label"], row["reason"]) for row in done(out)] == [
        ("train/ant/0.png", "cat", "corrected in mine.csv")
    ]
    # cat has a file of that name, which stays
    assert (out / "train/cat/0-2.png").read_bytes() == (images / "train/ant/0.png").read_bytes()
    assert (out / "train/cat/0.png").read_bytes() == (images / "train/cat/0.png").read_bytes()
    with pytest.raises(ConfigError, match="give one of them"):
        clean(
            folder / "storage",
            "folder/cross-entropy",
            images,
            tmp_path / "other",
            Wanted(labels=corrections, relabel=True),
        )


def test_rows_of_labels_csv_go_or_change_where_their_files_stay(tmp_path: Path) -> None:
    images, storage = tmp_path / "images", tmp_path / "storage"
    for k in range(12):
        path = images / ("pool" if k < 8 else "test/ant" if k < 10 else "test/bee") / f"{k}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(picture(k, 32, 32)))
    rows = [f"pool/{k}.png,{'ant' if k % 2 else 'bee'},{k} says" for k in range(8)]
    (images / "labels.csv").write_text("\n".join(["file,label,note", *rows, ""]))
    grid = train_on(storage, images, "folder")
    corrections = tmp_path / "mine.csv"
    corrections.write_text("sample,label\npool/3.png,bee\n")
    out = tmp_path / "relabelled"
    args = ("--data-dir", images, "--storage", storage)
    run("clean", grid, *args, "--labels", corrections, "--out", out)
    text = (out / "labels.csv").read_text()
    assert text == (images / "labels.csv").read_text().replace("3.png,ant", "3.png,bee")
    out = tmp_path / "without"
    run("clean", grid, *args, "--top", 2, "--out", out)
    gone = [row["path"] for row in done(out)]
    lines = (images / "labels.csv").read_text().splitlines()
    kept = [line for line in lines if line.split(",")[0] not in gone]
    assert (out / "labels.csv").read_text().splitlines() == kept
    assert not any((out / name).exists() for name in gone)
    assert labels_of("folder", out).keys() == labels_of("folder", images).keys() - set(gone)


@pytest.mark.parametrize("name", LISTS)
def test_a_list_stays_a_list_of_its_form_with_all_its_columns(name: str, tmp_path: Path) -> None:
    images, storage, out = tmp_path / "images", tmp_path / "storage", tmp_path / "clean"
    splits = ["train"] * 9 + ["test"] * 3
    rows = [
        {"path": f"a/{k}.png", "label": k % 3, "split": split, "by": "me"}
        for k, split in enumerate(splits)
    ]
    for row in rows:
        put(images / str(row["path"]), int(Path(str(row["path"])).stem))
    LISTS[name](images / name, rows)
    before = contents(images)
    grid = train_on(storage, images, "list")
    args = ("--data-dir", images, "--storage", storage)
    run("clean", grid, *args, "--top", 2, "--relabel", "--out", out)
    new = {row["path"]: row["new_label"] for row in done(out)}
    assert len(new) == 2
    assert contents(images) == before
    old_labels, labels = labels_of("list", images), labels_of("list", out)
    assert labels == {**old_labels, **new}
    wanted = tmp_path / "wanted" / name
    wanted.parent.mkdir()
    LISTS[name](
        wanted, [row | {"label": int(labels.get(row["path"], row["label"]))} for row in rows]
    )
    if name.endswith("parquet"):
        assert pq.read_table(out / name).equals(pq.read_table(wanted))
    else:
        assert (out / name).read_text() == wanted.read_text()
    out = tmp_path / "without"
    run("clean", grid, *args, "--top", 2, "--out", out)
    assert labels_of("list", out) == {k: v for k, v in old_labels.items() if k not in new}
    assert {p.name for p in (out / "a").iterdir()} == {
        f"{k}.png" for k in range(12) if f"a/{k}.png" not in new
    }


def test_parquet_stays_parquet_with_its_schema_and_the_names_of_its_classes(tmp_path: Path) -> None:
    images, storage, out = tmp_path / "images", tmp_path / "storage", tmp_path / "clean"
    names, y = ("ant", "bee"), [0, 1, 1, 0, 0, 1]
    for part, begin in (("train-00000-of-00002", 0), ("train-00001-of-00002", 6)):
        table = hub_table(begin, y, names)
        write_hub(images / f"{part}.parquet", table)
    write_hub(images / "test.parquet", hub_table(90, [0, 1] * 2, names))
    before = contents(images)
    grid = train_on(storage, images, "hf")
    args = ("--data-dir", images, "--storage", storage)
    run("clean", grid, *args, "--top", 3, "--relabel", "--out", out)
    assert contents(images) == before
    new = {row["path"]: row["new_label"] for row in done(out)}
    assert labels_of("hf", out) == {**labels_of("hf", images), **new}
    for path in images.glob("*.parquet"):
        ours, theirs = pq.read_table(out / path.name), pq.read_table(path)
        assert ours.schema.equals(theirs.schema, check_metadata=True)
        assert ours.column("image").equals(theirs.column("image"))
    out = tmp_path / "without"
    run("clean", grid, *args, "--top", 3, "--out", out)
    gone: dict[str, set[int]] = {}
    for name in new:
        file, _, row = name.rpartition(":")
        gone.setdefault(file, set()).add(int(row))
    for path in sorted(images.glob("*.parquet")):
        rows = pq.read_table(path).to_pylist()
        kept = [row for k, row in enumerate(rows) if k not in gone.get(path.name, set())]
        assert pq.read_table(out / path.name).to_pylist() == kept
    assert "9 images to train on" in run("data", "check", out)


def test_cifar_in_parquet_is_written_as_what_it_was(tmp_path: Path) -> None:
    images, storage, out = tmp_path / "images", tmp_path / "storage", tmp_path / "clean"
    write_cifar(images)
    grid = train_on(storage, images, "cifar10")
    run("clean", grid, "--data-dir", images, "--storage", storage, "--top", 1, "--out", out)
    (row,) = done(out)
    before, after = (data.load("cifar10", folder) for folder in (images, out))
    assert len(after.train) == len(before.train) - 1
    assert len(after.test) == len(before.test)
    assert row["path"].endswith((":0", ":1", ":2"))


def test_a_public_set_of_files_becomes_a_list_of_them(tmp_path: Path) -> None:
    images, storage, out = tmp_path / "images", tmp_path / "storage", tmp_path / "clean"
    write_animal10n(images)
    grid = train_on(storage, images, "animal10n")
    corrections = tmp_path / "mine.csv"
    corrections.write_text("sample,label\ntraining/0_00000.jpg,lynx\n3,wolf\n")
    args = ("--data-dir", images, "--storage", storage, "--labels", corrections)
    assert f"grid list --data-dir {out}" in run("clean", grid, *args, "--out", out)
    assert len(done(out)) == 2
    new = {row["path"]: row["new_label"] for row in done(out)}
    assert labels_of("list", out) == {**labels_of("animal10n", images), **new}


def test_what_cannot_be_cleaned_is_refused_with_the_reason(folder: Path, tmp_path: Path) -> None:
    images, storage, out = folder / "images", folder / "storage", tmp_path / "out"

    def refused(error: type[Exception], match: str, **more: Any) -> None:
        args = {"out": out, "data_dir": images, "wanted": Wanted()} | more
        with pytest.raises(error, match=match):
            clean(storage, "folder/cross-entropy", args["data_dir"], args["out"], args["wanted"])
        assert not out.exists()

    from curvetune.cleaning.change import Amount

    refused(ConfigError, "give their folder with --data-dir", data_dir=None)
    refused(ConfigError, "in the data's own folder", out=images / "train" / "clean")
    refused(ConfigError, "three ways to say how many", wanted=Wanted(Amount(top=1, share=0.5)))
    refused(DataError, "would have no image", wanted=Wanted(Amount(share=1.0)))
    refused(DataError, "nothing to clean", wanted=Wanted(Amount(above=1.0)))
    refused(ConfigError, "has no such score", wanted=Wanted(score="nothing"))
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "note.txt").write_text("mine")
    refused(ConfigError, "nothing is written over", out=taken)
    assert [path.name for path in taken.iterdir()] == ["note.txt"]


def test_labels_that_were_made_wrong_here_and_sets_without_files_are_refused(
    folder: Path, tmp_path: Path
) -> None:
    bias = {"imbalance": 1, "noise": "symmetric", "noise_rate": 0.4}
    grid = train_on(tmp_path / "noisy", folder / "images", "folder", bias=bias)
    with pytest.raises(ConfigError, match="are not in the data"):
        clean(tmp_path / "noisy", grid, folder / "images", tmp_path / "out", Wanted())
    grid = train_on(tmp_path / "digits", None, "digits")
    with pytest.raises(ConfigError, match="in no form that `clean` writes"):
        clean(tmp_path / "digits", grid, folder / "images", tmp_path / "out", Wanted())


def test_a_folder_that_is_not_whole_is_not_left_behind(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    with (
        pytest.raises(StorageError, match="nothing of it is left"),
        new_folder(tmp_path / "out", source, copies=True) as target,
    ):
        target.take("not-there.png")
    assert sorted(os.listdir(tmp_path)) == ["source"]


def test_the_path_of_a_suspect_is_never_cut_or_folded(tmp_path: Path) -> None:
    images, storage = tmp_path / "images", tmp_path / "storage"
    write_images(images)
    deep = images / "train" / "ant" / ("a" * 120) / ("b c" * 40)
    deep.mkdir(parents=True)
    (images / "train" / "ant" / "0.png").rename(deep / "0.png")
    grid = train_on(storage, images, "folder")
    text = run("suspects", grid, "--data-dir", images, "--storage", storage)
    name = str((deep / "0.png").relative_to(images))
    assert any(name in line for line in text.splitlines())
