"""Class names that no terminal or file can hold as they are come out escaped, in every form."""

import json
import os
from pathlib import Path

import polars as pl
import pytest
import torch
from image_folder import write_images
from storage_fixtures import DIGEST
from typer.testing import CliRunner

from curvetune import data
from curvetune.cell import run_cell
from curvetune.cli import app
from curvetune.config import CellConfig
from curvetune.store import CellStore

NAMES = {  # bytes of a folder's name, and how it is shown
    "latin1": (b"ch\xeane", "ch\\udceane"),
    "shift-jis": (b"\x94L", "\\udc94L"),
    "escape": (b"red\x1b[31m", "red\\x1b[31m"),
    "line end": (b"two\nlines", "two\\nlines"),
}


@pytest.fixture(params=NAMES, scope="module")
def trained(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path, str, str]:
    """A folder with an oddly named class, its storage with a grid, the cell, and the shown name."""
    raw, shown = NAMES[request.param]
    root = tmp_path_factory.mktemp("odd")
    images, storage = root / "images", root / "storage"
    write_images(images)
    for split in ("train", "test"):
        (images / split / "ant").rename(images / split / os.fsdecode(raw))
    source = data.find_source("folder")
    config = CellConfig.model_validate(
        {
            "data": {"name": "folder", "meta_per_class": 0},
            "bias": {"noise": "real"},
            "model": {"name": "resnet8"},
            "allocate": {"epochs": 1, "warmup": 0, "milestones": [], "batch_size": 8},
        }
    )
    digest = source.digest(images)
    run_cell(config, digest, source.load(images), storage, device=torch.device("cpu"))
    entry = {
        "cell_id": config.cell_id(digest),
        "probe_id": None,
        "config": config.model_dump(mode="json"),
    }
    grid = {"command": "curvetune grid folder", "data_digest": digest, "cells": [entry]}
    CellStore(storage).write_grid("odd", grid)
    assert digest != DIGEST
    return images, storage, config.cell_id(digest), shown


def run(*arguments: str) -> bytes:
    done = CliRunner().invoke(app, list(arguments))
    assert done.exit_code == 0, (done.output, done.exception)
    return done.stdout_bytes


@pytest.mark.parametrize("form", ["table", "csv", "json", "html"])
def test_suspects_lists_the_samples_with_the_name_escaped(
    trained: tuple[Path, Path, str, str], form: str, tmp_path: Path
) -> None:
    images, storage, cell, shown = trained
    command = ["suspects", cell, "--storage", str(storage), "--data-dir", str(images)]
    command += ["--top", "50"]
    if form == "html":
        run(*command, "--html", str(tmp_path / "p.html"))
        text = (tmp_path / "p.html").read_text(encoding="utf-8")
    else:
        more = ["--json"] if form == "json" else ["--format", form]
        text = run(*command, *more).decode("utf-8")
    if form == "json":
        names = {row["given_name"] for row in json.loads(text)["suspects"]}
        assert shown in names
    elif form == "table":
        assert shown[:4] in text  # a narrow terminal folds it
    else:
        assert shown in text
    assert "\x1b[31m" not in text


def test_a_parquet_file_and_cleanlabs_columns_can_be_written(
    trained: tuple[Path, Path, str, str], tmp_path: Path
) -> None:
    images, storage, cell, shown = trained
    command = ["suspects", cell, "--storage", str(storage), "--data-dir", str(images)]
    out = tmp_path / "s.parquet"
    run(*command, "--top", "50", "--format", "parquet", "--out", str(out))
    assert shown in pl.read_parquet(out)["given_name"].to_list()
    assert b"is_label_issue" in run(*command, "--format", "cleanlab")


def test_plan_why_and_the_page_go_on(trained: tuple[Path, Path, str, str], tmp_path: Path) -> None:
    images, storage, cell, _ = trained
    place = ["--storage", str(storage)]
    told = run("plan", "folder", "--data-dir", str(images), *place, "--json")
    assert len(json.loads(told)["images"]["classes"]) == 3
    run("why", cell, *place)
    page = tmp_path / "page.html"
    run("report", "odd", *place, "--html", str(page), "--data-dir", str(images))
    page.read_text(encoding="utf-8")
