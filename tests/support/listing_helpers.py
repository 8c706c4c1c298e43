"""Folders of files to list, and what the listing says of them."""

from pathlib import Path

from image_folder import encoded, picture

from curvetune.data.listing import Listing

PNG = encoded(picture())


def write(root: Path, *files: str, content: bytes = PNG) -> None:
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_bytes(content)


def folder_of(root: Path, *classes: str) -> None:
    """Write two training images and one test image of each class."""
    for name in classes:
        write(root, f"train/{name}/a.png", f"train/{name}/b.png", f"test/{name}/a.png")


def labels(root: Path, *rows: str) -> None:
    text = "\n".join(["file,label,split", *rows]) + "\n"
    (root / "labels.csv").write_text(text, encoding="utf-8")


def labelled(listing: Listing) -> dict[str, str]:
    return {one.file: one.label for one in listing.files if one.problem is None}


def problems(listing: Listing) -> dict[str, str]:
    return {one.file: one.problem for one in listing.files if one.problem is not None}
