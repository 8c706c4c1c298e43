"""`curvetune offline` and `python -m curvetune.offline`: what is typed, and what is told."""

import io
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from image_folder import CLASSES, TEST, TRAIN, encoded, picture
from typer.testing import CliRunner

from curvetune.cell import run_cell
from curvetune.cli import app
from curvetune.offline import command
from curvetune.places import Places
from curvetune.planning.selection import Selection, selected_space
from curvetune.store import CellStore
from curvetune.training.split import prepare_splits

SPACE = """
base:
  data: {name: NAME}
  model: {name: resnet8}
  probe: {epochs: 3, cyclic_start: 2, half_period: 1, batch_size: 5, cyclic_batch_size: 5}
  allocate: {epochs: 2, milestones: [1], warmup: 0, batch_size: 5}
grid:
  method:
    - {name: curvenet, meta_batch_size: 3, removed_losses: 0}
    - {name: cross-entropy}
"""
DIGITS = "digits, per_class_limit: 10, test_limit: 20"
# What a machine with PyTorch has not: an import of it fails there.
ABSENT = [
    *("ray", "mlflow", "typer", "click", "rich", "matplotlib", "polars", "scipy", "pandas"),
    *("jinja2", "pydantic_settings", "torchvision"),
]
ROOT = Path(__file__).parents[2]
CELL, PROBE = "cells/0123456789abcdef", "probes/0123456789abcdef"


@pytest.fixture
def space(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(SPACE.replace("NAME", DIGITS))
    return path


@pytest.fixture
def in_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def module(*arguments: str, without: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run `python -m curvetune.offline`, where packages that `without` has cannot be imported."""
    paths = [str(path) for path in (without, ROOT) if path is not None]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    line = [sys.executable, "-W", "ignore", "-m", "curvetune.offline", *arguments]
    return subprocess.run(line, capture_output=True, text=True, timeout=120, check=False, env=env)


@pytest.mark.faults
@pytest.mark.slow
def test_the_whole_command_runs_where_there_is_pytorch_and_little_else(
    tmp_path: Path, space: Path
) -> None:
    for name in ABSENT:
        (tmp_path / "absent" / name).mkdir(parents=True)
        text = f"raise ImportError('{name} is not on this machine')"
        (tmp_path / "absent" / name / "__init__.py").write_text(text)
    absent, here, there = (tmp_path / name for name in ("absent", "here", "there"))
    line = ["run", str(space), "--storage", str(here), "--workers", "2"]
    first = module(*line, "--pack", str(tmp_path / "pack"), without=absent)
    assert first.returncode == 0, first.stderr
    assert "2 of 2 cells are done, 2 of them now" in first.stdout
    lines = here / "results.jsonl"
    for arguments in (
        ["unpack", str(tmp_path / "pack"), "--storage", str(there)],
        ["import", str(lines), str(space), "--storage", str(there)],
        ["pack", str(tmp_path / "again"), "--storage", str(there)],
    ):
        answer = module(*arguments, without=absent)
        assert answer.returncode == 0, answer.stderr
    import_ray = subprocess.run(
        [sys.executable, "-c", "import ray"],
        capture_output=True, text=True, check=False, env={"PYTHONPATH": str(absent)},
    )  # fmt: skip
    assert "ray is not on this machine" in import_ray.stderr  # the test's own means work


def test_the_command_has_the_same_options_as_the_module(
    tmp_path: Path, space: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["run", str(space), "--storage", str(tmp_path / "s"), "--minutes", "0"]
    assert command.main(line) == command.TIME_IS_UP
    assert "0 of 2 cells are done" in capsys.readouterr().out
    assert CliRunner().invoke(app, ["offline", *line]).exit_code == command.TIME_IS_UP
    for start in (["curvetune", "offline"], ["curvetune.offline"]):
        for arguments in (["--help"], ["run", "--help"]):
            shown = subprocess.run(
                [sys.executable, "-m", *start, *arguments],
                capture_output=True, text=True, timeout=60, check=True,
            ).stdout  # fmt: skip
            assert "usage: curvetune offline" in shown


@pytest.mark.slow
@pytest.mark.faults
@pytest.mark.parametrize("through", ["curvetune", "curvetune.offline"])
@pytest.mark.parametrize("arguments", [["run", "SPACE"], ["import", "LINES", "SPACE"]])
def test_a_grid_keeps_a_command_that_can_be_typed_again(
    tmp_path: Path, space: Path, through: str, arguments: list[str]
) -> None:
    storage, lines = tmp_path / "s", tmp_path / "lines.jsonl"
    assert command.main(["run", str(space), "--storage", str(tmp_path / "a")]) == 0
    lines.write_bytes((tmp_path / "a" / "results.jsonl").read_bytes())
    names = {"SPACE": str(space), "LINES": str(lines)}
    line = [*(names.get(word, word) for word in arguments), "--storage", str(storage)]
    if arguments[0] == "run":
        line += ["--minutes", "0"]
    start = ["-m", through, *(["offline"] if through == "curvetune" else [])]
    subprocess.run([sys.executable, *start, *line], check=False, timeout=60, capture_output=True)
    kept = CellStore(storage).read_grid("tiny")["command"]
    assert kept == f"python -m curvetune.offline {' '.join(line)}"


def test_no_help_waits_for_pytorch() -> None:
    code = (
        "import contextlib, sys\n"
        "from curvetune.offline.command import main\n"
        "for line in (['--help'], *([name, '--help'] for name in "
        "('run', 'import', 'pack', 'unpack')), ['run'], ['run', 'digits', '--workers', 'x']):\n"
        "    with contextlib.suppress(SystemExit):\n"
        "        main(line)\n"
        "print(sorted({'torch', 'ray', 'mlflow', 'numpy'} & set(sys.modules)), file=sys.stderr)\n"
    )
    answer = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert answer.stderr.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("size", "set_"), [(32, []), (48, ["image_size=48"]), (16, ["image_size=16"])]
)
def test_images_of_a_folder_are_as_large_as_the_space_says(
    tmp_path: Path, size: int, set_: list[str]
) -> None:
    """The cell that `grid` would compute, at its address, number by number."""
    images, here, there = (tmp_path / name for name in ("images", "here", "there"))
    seed = 0
    for split, counts in (("train", TRAIN), ("test", TEST)):
        for name, count in zip(CLASSES, counts, strict=True):
            (images / split / name).mkdir(parents=True)
            for k in range(count):
                file = images / split / name / f"{k}.png"
                file.write_bytes(encoded(picture(seed, 64, 64)))
                seed += 1
    space = tmp_path / "folder.yaml"
    space.write_text(SPACE.replace("NAME", "folder, meta_per_class: 1"))
    line = ["run", str(space), "--methods", "cross-entropy", "--data-dir", str(images)]
    line += [word for text in set_ for word in ("--set", text)]
    assert command.main([*line, "--storage", str(here)]) == 0

    fixed = dict(text.split("=") for text in set_)
    (cell,) = selected_space(Selection(str(space), ("cross-entropy",), (), "release", fixed)).cells
    source = Places(images, there).source(cell.data)
    digest, dataset = source.digest(images), source.load(images)
    assert dataset.train.x.shape[-1] == size
    there.mkdir()
    prepare_splits([cell], digest, dataset, there)
    run_cell(cell, digest, dataset, there, device=torch.device("cpu"), checkpoint_every=50)
    files = [CellStore(root).folder(cell.cell_id(digest)) for root in (here, there)]
    found, true = (
        [json.loads(row)["loss"] for row in (folder / "history.jsonl").read_text().splitlines()]
        for folder in files
    )
    assert found == true


LATE = {  # what is wrong with the end of a run, and what is told of it before the run
    "no limit": (["--pack", "p", "--pack-limit", "0"], 2, ("--pack-limit 0", "more than 0")),
    "negative": (["--pack", "p", "--pack-limit", "-1"], 2, ("--pack-limit -1", "more than 0")),
    "not a number": (["--pack", "p", "--pack-limit", "nan"], 2, ("--pack-limit nan", "allowed")),
    "a folder": (["--pack", "."], 2, ("--pack .", "name of a file", "give")),
    "the folder above": (["--pack", ".."], 2, ("--pack ..", "name of a file", "give")),
    "in a file": (["--pack", "tiny.yaml/p"], 5, ("--pack tiny.yaml/p", "cannot be", "give")),
    "a part that is a folder": (["--pack", "taken"], 2, ("taken.1of1", "folder", "give")),
    "lines in a file": (["--lines", "tiny.yaml/l"], 5, ("tiny.yaml/l", "cannot be written")),
}


@pytest.mark.parametrize("name", LATE)
def test_what_would_go_wrong_at_the_end_is_told_before_a_cell_is_run(
    in_tmp: Path, space: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (in_tmp / "taken.1of1").mkdir()
    options, code, parts = LATE[name]
    assert command.main(["run", str(space), "--storage", "s", *options]) == code
    said = capsys.readouterr()
    assert all(part in said.err for part in parts), said.err
    assert "started" not in said.out


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_told_once_and_fails_no_cell(
    in_tmp: Path, space: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(["run", str(space), "--storage", "s", "--device", "cuda"]) == 2
    said = capsys.readouterr().err
    assert "--device cuda" in said
    assert "allowed" in said
    assert not [*(in_tmp / "s").rglob("FAILED.json")]


WRONG = [
    (["run", "no-such-space"], ("no-such-space", "allowed are", "digits")),
    (["run", "digits", "--minutes", "-1"], ("--minutes -1", "at least 0")),
    (["run", "digits", "--minutes", "nan"], ("--minutes nan", "at least 0")),
    (["run", "digits", "--workers", "0"], ("--workers 0", "at least 1")),
    (["run", "digits", "--unpack", "pack.1of1"], ("pack.1of1", "one part", "give pack")),
    (["pack", "x", "--pack-limit", "0"], ("--pack-limit 0", "allowed is more than 0")),
    (["pack", "x", "--storage", "nowhere"], ("nowhere", "no such folder", "give one that")),
    (["pack", "x", "--storage", "bare"], ("bare", "there is no grid", "give one that")),
    (["pack", "x", "--storage", ""], ("--storage", "there is no grid", "give one that")),
    (["pack", "."], (".", "name of a file", "give")),
    (["unpack", "x"], ("x.1ofN", "found none", "copy all parts")),
    (["import", "missing.jsonl", "digits"], ("missing.jsonl", "cannot be read", "give a")),
    (["import", "empty.jsonl", "digits"], ("empty.jsonl", "there are no results", "give a")),
    (["import", "deep.jsonl", "digits"], ("deep.jsonl: line 1", "allowed is", "remove")),
    (["import", "list.jsonl", "digits"], ("list.jsonl: line 1", "allowed is", "remove")),
]


@pytest.mark.parametrize(("line", "parts"), WRONG)
def test_what_is_wrong_is_named_with_what_is_allowed_and_what_to_do(
    in_tmp: Path, line: list[str], parts: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("curvetune-results/grids", "bare"):
        (in_tmp / name).mkdir(parents=True)
    for name, text in (("empty", ""), ("deep", "[" * 100_000), ("list", "[1]")):
        (in_tmp / f"{name}.jsonl").write_text(text)
    assert command.main(line) == 2
    said = capsys.readouterr().err
    assert all(part in said for part in parts), said


@pytest.mark.parametrize(
    "storage", ["s3://key:hunter22@bucket/x", "http://u:hunter22@h/p", "gs://b/x?token=hunter22"]
)
def test_no_error_repeats_a_secret(storage: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["run", "digits", "--storage", storage]) == 5
    said = capsys.readouterr().err
    assert "allowed are a folder" in said or "credentials do not belong into" in said
    assert "hunter22" not in said


def test_a_first_slice_says_that_there_is_no_pack_to_go_on_from(
    in_tmp: Path, space: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["run", str(space), "--storage", "s", "--minutes", "0", "--unpack", "carried/pack"]
    assert command.main(line) == command.TIME_IS_UP
    assert "carried/pack: there is no such pack" in capsys.readouterr().out


def archive(*members: tuple[str, bytes], links: tuple[tuple[str, bytes, str], ...] = ()) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        for name, kind, target in links:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, target
            tar.addfile(info)
    return buffer.getvalue()


def half_curves(*, pickled: bool = False, cut: int | None = None) -> bytes:
    buffer = io.BytesIO()
    array = np.array([{}]) if pickled else np.ones((3, 2), np.float16)
    np.save(buffer, array, allow_pickle=pickled)
    return buffer.getvalue()[:cut]


ROUNDED = (f"{PROBE}/rounded.json", b'{"to": "float16", "epochs": 2}\n')
MANIFEST = (f"{PROBE}/manifest.json", b"{}")
DAMAGED: dict[str, Callable[[], bytes]] = {
    "no archive": lambda: b"no archive",
    "nothing": lambda: b"",
    "cut off": lambda: archive((f"{CELL}/config.json", b"{}" * 999))[:-9],
    "a place outside": lambda: archive(("cells/../../x.json", b"{}")),
    "a symbolic link": lambda: archive(links=((f"{CELL}/DONE.json", tarfile.SYMTYPE, "/etc/x"),)),
    "a hard link": lambda: archive(links=((f"{CELL}/DONE.json", tarfile.LNKTYPE, "/etc/x"),)),
    "a device": lambda: archive(links=((f"{CELL}/DONE.json", tarfile.CHRTYPE, ""),)),
    "a pickle as curves": lambda: archive(
        ROUNDED, (f"{PROBE}/curves.npy", half_curves(pickled=True)), MANIFEST
    ),
    "half of the curves": lambda: archive(
        ROUNDED, (f"{PROBE}/curves.npy", half_curves(cut=-3)), MANIFEST
    ),
    "a manifest that is no JSON": lambda: archive(
        ROUNDED, (f"{PROBE}/curves.npy", half_curves()), (MANIFEST[0], b"{")
    ),
    "a result that is no JSON": lambda: archive((f"{CELL}/DONE.json", b"{")),
    "a result that nobody sealed": lambda: archive((f"{CELL}/DONE.json", b'{"accuracy": 99}')),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_pack_is_told_and_changes_nothing(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    storage = tmp_path / "s"
    (storage / CELL).mkdir(parents=True)
    (storage / CELL / "history.jsonl").write_text("{}\n")  # begun, and not to be lost
    (tmp_path / "pack.1of1").write_bytes(DAMAGED[name]())
    assert command.main(["unpack", str(tmp_path / "pack"), "--storage", str(storage)]) == 5
    said = capsys.readouterr().err
    assert "its parts are damaged" in said
    assert "copy them again" in said
    assert [path for path in storage.rglob("*") if path.is_file()] == [
        storage / CELL / "history.jsonl"
    ]


def test_a_part_that_is_a_folder_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "pack.1of1").mkdir()
    assert command.main(["unpack", str(tmp_path / "pack"), "--storage", str(tmp_path / "s")]) == 2
    said = capsys.readouterr().err
    assert "pack.1of1" in said
    assert "folder" in said
