"""Small sets in the forms in which people publish theirs. Image k is `picture(k)`."""

import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from image_folder import encoded, picture

SIDE = 16


def image_bytes(k: int) -> bytes:
    """Return image k as a PNG, so that its pixels can be compared."""
    return encoded(picture(k, SIDE, SIDE))


def put(path: Path, k: int) -> None:
    """Write image k."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(image_bytes(k))


def write(path: Path, *lines: str) -> None:
    """Write a text file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def hub_metadata(features: Mapping[str, Any]) -> dict[bytes, bytes]:
    """Return the metadata that the datasets library writes."""
    return {b"huggingface": json.dumps({"info": {"features": features}}).encode()}


def hub_table(
    first: int, labels: Sequence[Any], names: Sequence[str] | None = None, column: str = "label"
) -> pa.Table:
    """Return a table of images from `first` on, as the Hugging Face Hub has it."""
    images = [{"bytes": image_bytes(first + k), "path": f"{k}.png"} for k in range(len(labels))]
    table = pa.table({"image": images, column: labels})
    features: dict[str, Any] = {"image": {"_type": "Image"}}
    if names is not None:
        features[column] = {"_type": "ClassLabel", "names": list(names)}
    return table.replace_schema_metadata(hub_metadata(features))


def write_hub(path: Path, table: pa.Table, rows: int = 2) -> None:
    """Write a table as Parquet, so many rows in a group."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=rows)


def write_tar(path: Path, members: Mapping[str, bytes]) -> None:
    """Write a tar of plain files."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def write_clothing1m(root: Path) -> None:
    """Write 28 noisy images, 14 to validate and 14 to test; names hold commas and blanks."""
    write(root / "category_names_eng.txt", *(f"Class {k}" for k in range(14)))
    noisy = [f"images/0/a,b c{k}.jpg" for k in range(28)]
    val, test = ([f"images/{s}/{s}{k}.jpg" for k in range(14)] for s in ("1", "2"))
    for k, file in enumerate([*noisy, *val, *test]):
        put(root / file, k)
    write(root / "noisy_label_kv.txt", *(f"{file} {k % 14}" for k, file in enumerate(noisy)))
    clean = [f"{file} {k % 14}" for part in (val, test) for k, file in enumerate(part)]
    clean += [f"{noisy[0]} 0", f"{noisy[1]} 5"]  # which have a noisy label too
    write(root / "clean_label_kv.txt", *clean)
    write(root / "noisy_train_key_list.txt", *noisy)
    write(root / "clean_val_key_list.txt", *val)
    write(root / "clean_test_key_list.txt", *test)


def write_food101n(root: Path, classes: Sequence[str] = ("apple_pie", "ramen")) -> None:
    """Write 4 images of each class and Food-101's test set; hash h0 is in both classes."""
    release, tested = root / "Food-101N_release", root / "food-101"
    keys = [f"{name}/h{k}.jpg" for name in classes for k in range(4)]
    tests = [f"{name}/{k}" for name in classes for k in range(2)]
    for k, key in enumerate(keys):
        put(release / "images" / key, k)
    for k, key in enumerate(tests):
        put(tested / "images" / f"{key}.jpg", 100 + k)
    write(release / "meta/classes.txt", "class_name", *classes)
    write(release / "meta/imagelist.tsv", "class_name/key", *keys)
    header = "class_name/key\tverification_label"
    write(release / "meta/verified_train.tsv", header, f"{keys[0]}\t1", f"{keys[1]}\t0")
    verified = [f"{keys[2]}\t1", f"{keys[6]}\t1", f"{keys[7]}\t0"]
    write(release / "meta/verified_val.tsv", header, *verified)
    write(tested / "meta/test.txt", *tests)


def write_webvision(root: Path) -> None:
    """Write two images of each of 60 classes from Google, one from Flickr, and one to test."""
    google = [f"google/q{k % 60:04}/g{k}.jpg" for k in range(120)]
    flickr = [f"flickr/q{k:04}/f{k}.jpg" for k in range(60)]
    val = [f"val{k:06}.jpg" for k in range(60)]
    for k, file in enumerate([*google, *flickr, *(f"val_images_256/{name}" for name in val)]):
        put(root / file, k)
    lists = {"train_filelist_google": google, "train_filelist_flickr": flickr, "val_filelist": val}
    for name, files in lists.items():
        write(root / f"info/{name}.txt", *(f"{file} {k % 60}" for k, file in enumerate(files)))
    write(root / "info/synsets.txt", *(f"n{1000 - k:08} word {k}" for k in range(1000)))


def write_animal10n(root: Path) -> None:
    """Write two images of each animal to train on and one to test on."""
    for k in range(30):
        split = "training" if k < 20 else "testing"
        put(root / split / f"{k % 10}_{k:05}.jpg", k)


def write_cnwl(root: Path) -> None:
    """Write red noise of share 0.4: an image of ImageNet and one of the web for each class."""
    base = root / "mini-imagenet"
    names = [f"n{k:08}.jpg" for k in range(100)] + [f"web{k:03}.jpg" for k in range(100)]
    val = [f"n9{k:07}.jpg" for k in range(100)]
    for k, name in enumerate(names):
        put(base / "all_images" / name, k)
    for k, name in enumerate(val):
        put(base / "validation" / str(k) / name, 200 + k)
    lines = (f"{name} {k % 100}" for k, name in enumerate(names))
    write(base / "split/red_noise_nl_0.4", *lines)
    write(base / "split/clean_validation", *(f"{name} {k}" for k, name in enumerate(val)))
    facts = [
        [{"image/id": f"web{k:03}", "image/uri": "u", "image/class/label": k}
         | {"image/class/label/is_clean": int(k == 0)}]
        for k in range(2)
    ]  # fmt: skip
    write(root / "mini-imagenet-annotations.json", json.dumps({"data": facts}))


def write_imagenet_lt(root: Path) -> None:
    """Write three classes with 3, 2 and 1 images, and one of each to test."""
    train = [(f"train/n{k}/{j}.JPEG", k) for k, size in enumerate((3, 2, 1)) for j in range(size)]
    test = [(f"val/n{k}/v.JPEG", k) for k in range(3)]
    for k, (file, _) in enumerate([*train, *test]):
        put(root / file, k)
    write(root / "ImageNet_LT_train.txt", *(f"{file} {k}" for file, k in train))
    write(root / "ImageNet_LT_test.txt", *(f"{file} {k}" for file, k in test))
