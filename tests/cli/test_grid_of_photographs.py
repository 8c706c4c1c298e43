"""Photographs in a folder: the grid with a ResNet-18, its table, and suspects with pictures."""

import base64
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chromium import chromium
from image_folder import SUBJECTS, write_photographs
from PIL import Image

from curvetune.data import find_source
from curvetune.report.pages.suspects import thumbnail_uri

SETTINGS = {
    "model.name": "torchvision/resnet18",
    "image_size": "80",
    "crop_size": "64",
    "statistics": "own",
    "probe.epochs": "3",
    "cyclic_start": "1",
    "half_period": "1",
    "probe.batch_size": "32",
    "cyclic_batch_size": "32",
    "allocate.epochs": "2",
    "allocate.batch_size": "32",
    "milestones": "[[1]]",
}


def command(root: Path, *words: object) -> str:
    known = ("--storage", root / "storage", "--data-dir", root / "photographs")
    done = subprocess.run(
        [sys.executable, "-m", "curvetune", *map(str, (*words, *known))],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "CURVETUNE_CACHE": str(root / "cache")},
        timeout=230,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("photographs")
    write_photographs(root / "photographs", train=60, test=15)
    options = [word for key, value in SETTINGS.items() for word in ("--set", f"{key}={value}")]
    methods = ("--methods", "cross-entropy,curvenet", "--seeds", "0")
    command(root, "grid", "folder", *methods, *options)
    return root


@pytest.fixture(scope="module")
def page(root: Path) -> Path:
    found = json.loads(command(root, "report", "folder", "--json"))["cells"]
    cell = next(each["cell_id"] for each in found if each["name"] == "curvenet")
    command(root, "suspects", cell, "--top", 20, "--html", root / "suspects.html")
    return root / "suspects.html"


def images_in(page: Path) -> list[Image.Image]:
    encoded = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', page.read_text())
    return [Image.open(io.BytesIO(base64.b64decode(text))) for text in encoded]


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.faults
def test_a_grid_of_photographs_with_a_resnet18_ends_with_a_table(root: Path) -> None:
    report = json.loads(command(root, "report", "folder", "--json"))
    done = {row["method"]: row["cells_done"] for row in report["methods"]}
    assert done == {"cross-entropy": 1, "curvenet": 1}
    assert all(0 <= cell["accuracy"] <= 100 for cell in report["cells"])


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.faults
def test_its_suspects_are_shown_upright_and_small(page: Path, root: Path) -> None:
    shown = images_in(page)
    assert len(shown) == 20
    assert {image.size for image in shown} == {(80, 80)}
    assert page.stat().st_size < 20 * 8000
    files = re.findall(r"<dd>(train/[^<]+)</dd>", page.read_text())
    for file, image in zip(files, shown, strict=True):
        (source,) = (root / "photographs").glob(file)
        with Image.open(source) as original:
            turned = original.getexif().get(0x0112, 1)
            angle = {1: 0, 3: 180, 6: 270, 8: 90}[turned]
            upright = original.rotate(angle, expand=True).resize((80, 80))
        difference = np.asarray(upright, float) - np.asarray(image.convert("RGB"), float)
        assert np.abs(difference).mean() < 8


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.faults
@pytest.mark.browser
def test_a_browser_shows_every_picture_of_the_page(page: Path, tmp_path: Path) -> None:
    with chromium(tmp_path / "profile") as browser:
        browser.get(page.as_uri())
        assert browser.get_log("browser") == []
        browser.execute_script("for (const i of document.images) i.loading = 'eager'")
        script = "return Array.from(document.images, i => [i.naturalWidth, i.width, i.height])"
        sizes: list[Any] = browser.execute_script(script)
    assert sizes == [[80, 128, 128]] * 20


@pytest.mark.parametrize(
    ("size", "kind", "shown"), [(32, "png", 32), (64, "png", 64), (256, "jpeg", 128)]
)
def test_a_small_image_is_shown_as_it_is_and_a_photograph_scaled_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, kind: str, shown: int
) -> None:
    monkeypatch.setenv("CURVETUNE_CACHE", str(tmp_path / "cache"))
    write_photographs(tmp_path / "images", train=9, test=6)
    images = find_source("folder", image_size=size).load(tmp_path / "images")
    assert images.class_names == SUBJECTS
    for index in range(3):
        head, _, text = thumbnail_uri(images, index).partition(",")
        assert head == f"data:image/{kind};base64"
        assert len(text) < 14_000
        found = np.asarray(Image.open(io.BytesIO(base64.b64decode(text))), float)
        pixels = np.asarray(images.train.x[np.array([index])][0], float).transpose(1, 2, 0)
        step = size // shown
        reduced = pixels.reshape(shown, step, shown, step, 3).mean(axis=(1, 3))
        assert np.abs(found - reduced).mean() < (1e-9 if kind == "png" else 6)
