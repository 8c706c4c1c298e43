"""What the commands say about the images of a folder: how many, what was converted, what is bad."""

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING, cast

import typer

from curvetune.errors import ConfigError, printable

if TYPE_CHECKING:
    from curvetune.cli.run import Places
    from curvetune.config import DataConfig
    from curvetune.data import Dataset, OnBad, Report, Source

ON_BAD = ("skip", "fail")
NAMED = 5  # bad files that are named; the rest is in a file


def parse_on_bad(text: str) -> "OnBad":
    """Return what is to be done about images that cannot be used.

    Raises:
        ConfigError: it is neither skip nor fail.
    """
    if text not in ON_BAD:
        raise ConfigError(f"--on-bad {printable(text)!r}: allowed are {' and '.join(ON_BAD)}")
    return cast("OnBad", text)


def images_of(config: "DataConfig", places: "Places") -> "Source":
    """Return where the images of a cell come from."""
    from curvetune import data

    on_bad = parse_on_bad(places.on_bad)
    return data.find_source(config.name, image_size=config.image_size, on_bad=on_bad)


def tell_images(report: "Report") -> None:
    """Say on stderr what became of the files of a folder."""
    from curvetune.data.duplicates import words

    changed = ", ".join(f"{count:,} {what}" for what, count in report.converted.items())
    parts = [
        f"{report.train:,} images to train on and {report.test:,} to test on, of "
        f"{len(report.classes)} classes",
        f"converted: {changed}" if changed else "",
    ]
    typer.echo("; ".join(part for part in parts if part), err=True)
    if report.counted:
        shown = ", ".join(
            f"{k} is {printable(c, 40)}" for k, c in enumerate(report.classes[:NAMED])
        )
        more = ", …" if len(report.classes) > NAMED else ""
        typer.echo(f"the labels in labels.csv count the classes: {shown}{more}", err=True)
    for line in [*report.left_out.words(), *words(report.copies)]:
        typer.echo(line, err=True)
    if report.bad:
        typer.echo(f"left out: {len(report.bad):,} bad images (--on-bad skip)", err=True)
    for file, reason in report.bad[:NAMED]:
        typer.echo(f"  {printable(file)}: {reason}", err=True)
    if len(report.bad) > NAMED:
        typer.echo(f"  and {len(report.bad) - NAMED:,} more", err=True)


def write_bad_list(report: "Report | None", digest: str, storage: Path) -> None:
    """Write which images were left out, and why, to data/<digest>-bad.csv of the storage.

    Raises:
        StorageError: it cannot be written.
    """
    if report is None or not report.bad:
        return
    from curvetune.store.facts import facts_file
    from curvetune.store.files import write_atomic

    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([("file", "reason"), *report.bad])
    path = facts_file(storage, digest, "-bad.csv")
    write_atomic(path, text.getvalue().encode("utf-8", "surrogateescape"))
    typer.echo(f"all of them, with the reasons: {path}", err=True)


def keep_copies(report: "Report | None", dataset: "Dataset", digest: str, storage: Path) -> None:
    """Keep what the data has more than once, for the page and MLflow; of arrays, count it first.

    Raises:
        StorageError: it cannot be written.
    """
    from curvetune.data import duplicates
    from curvetune.store.facts import read_facts, write_facts

    if report is not None:
        write_facts(storage, digest, report.copies.to_json())
    elif read_facts(storage, digest) is None:
        train, test = ((images.x, images.y) for images in (dataset.train, dataset.test))
        samples = duplicates.samples_of(train, test, dataset.class_names)
        write_facts(storage, digest, duplicates.copies_of(list(samples)).to_json())
