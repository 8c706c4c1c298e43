"""What is only shown changes no exit code: terminals, readers that leave, disks that are full."""

import csv
import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tracking_helpers import small

from curvetune.cli.process.streams import INSTEAD

MAIN = "from curvetune.cli import main; main()"
# Two commands more: the results of one are in the storage, what the other prints is its result.
EXTRA = """
import logging, sys, threading, typer
from curvetune import cli
from curvetune.cli.process import streams
from curvetune.system.terminal import plain_console

def say(lines):
    console = plain_console()
    for k in range(lines):
        console.print(f"{k} 88.55 ± 2.33 – 4× … café", highlight=False, soft_wrap=True)
        typer.echo("ended ±")
        plain_console(stderr=True).print("to stderr ±", highlight=False)
        typer.echo("also ±", err=True)
    logging.getLogger("x").warning("logged ±")

@cli.app.command("stored")
def stored(code: int, lines: int = 1) -> None:
    streams.only_shown()
    say(lines)
    thread = threading.Thread(target=say, args=(lines,))
    thread.start()
    thread.join()
    raise typer.Exit(code)

@cli.app.command("result")
def result(code: int, lines: int = 1) -> None:
    say(lines)
    raise typer.Exit(code)

cli.main()
""".encode("ascii", "backslashreplace").decode()  # which a C locale's interpreter can read
ASCII = {
    "by its name": {"PYTHONIOENCODING": "ascii"},
    "by the locale": {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
    "strictly": {"PYTHONIOENCODING": "us-ascii:strict"},
    "unbuffered": {"PYTHONIOENCODING": "ascii", "PYTHONUNBUFFERED": "1"},
}


def run(
    *arguments: object, code: str = MAIN, **options: Any
) -> "subprocess.CompletedProcess[bytes]":
    environment = {**os.environ, **options.pop("env", {})}
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, check=False, timeout=120, env=environment, **options)


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("storage")
    small(root, 4)
    return root


@pytest.mark.parametrize("kind", ASCII)
@pytest.mark.parametrize("command", ["stored", "result"])
def test_an_ascii_terminal_is_shown_everything_in_ascii(kind: str, command: str) -> None:
    done = run(command, "3", code=EXTRA, env=ASCII[kind])
    assert done.returncode == 3
    assert done.stdout.isascii()
    assert done.stderr.isascii()
    assert b"0 88.55 +- 2.33 - 4x ... caf\\xe9\nended +-\n" in done.stdout
    for line in (b"to stderr +-", b"also +-", b"logged +-"):
        assert line in done.stderr


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [
        ("utf-8", "88.55 ± 2.33 – 4× … café"),
        ("latin-1", "88.55 ± 2.33 - 4× ... café"),
        ("cp1252", "88.55 ± 2.33 – 4× … café"),
        ("koi8-r", r"88.55 +- 2.33 - 4x ... caf\xe9"),
    ],
)
def test_a_terminal_gets_the_characters_that_it_has(encoding: str, shown: str) -> None:
    done = run("result", "0", code=EXTRA, env={"PYTHONIOENCODING": encoding})
    assert done.returncode == 0
    assert shown in done.stdout.decode(encoding)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["grid", "--help"],
        ["methods"],
        ["report", "small"],
        ["report", "small", "--table", "significance"],
        ["report", "small", "--table", "MA"],
        ["status", "small"],
        ["status"],
        ["compare", "cross-entropy", "curvenet", "--in", "small"],
    ],
)
def test_every_table_has_a_form_in_ascii(storage: Path, arguments: list[str]) -> None:
    done = run(*arguments, env={"PYTHONIOENCODING": "ascii", "CURVETUNE_STORAGE": str(storage)})
    assert (done.returncode, done.stderr) == (0, b"")
    assert len(done.stdout) > 50
    assert done.stdout.isascii()
    assert b"\\u2" not in done.stdout  # no rule, dash or sign without a form of its own


@pytest.mark.parametrize("form", ["csv", "json", "markdown", "latex", "html"])
def test_data_are_the_same_bytes_whatever_the_terminal_takes(storage: Path, form: str) -> None:
    ask = ["report", "small", "--format", form, "--storage", storage]
    ascii_, utf8 = (run(*ask, env={"PYTHONIOENCODING": name}) for name in ("ascii", "utf-8"))
    assert ascii_.returncode == utf8.returncode == 0
    assert ascii_.stdout == utf8.stdout != b""
    if form == "csv":
        assert len(list(csv.reader(io.StringIO(utf8.stdout.decode())))) > 1


def test_an_error_is_told_in_ascii(tmp_path: Path) -> None:
    ascii_ = {"PYTHONIOENCODING": "ascii"}
    done = run("report", "größe", "--storage", tmp_path, env=ascii_)
    assert done.returncode == 2
    assert b"unknown grid 'gr\\xf6\\xdfe'" in done.stderr
    done = run("report", "--größe", env=ascii_)
    assert done.returncode == 2
    assert done.stderr.isascii()


def test_what_stands_for_a_character_is_ascii() -> None:
    assert all(text.isascii() and not character.isascii() for character, text in INSTEAD.items())


def closed_pipe() -> int:
    """The end to write to of a pipe that nobody reads."""
    reader, writer = os.pipe()
    os.close(reader)
    return writer


@pytest.mark.parametrize("exit_code", [0, 3, 4])
@pytest.mark.parametrize("streams", ["stdout", "stderr", "both"])
@pytest.mark.parametrize("what", ["closed", "full"])
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_where_results_are_stored_no_stream_changes_the_exit_code(
    exit_code: int, streams: str, what: str, unbuffered: str
) -> None:
    broken = closed_pipe() if what == "closed" else os.open("/dev/full", os.O_WRONLY)
    names = ["stdout", "stderr"] if streams == "both" else [streams]
    done = run(
        *("stored", exit_code, "--lines", 100),
        code=EXTRA,
        env={"PYTHONUNBUFFERED": unbuffered},
        **dict.fromkeys(names, broken),
    )
    os.close(broken)
    assert done.returncode == exit_code
    said = done.stderr or b""
    assert b"Traceback" not in said
    assert b"Exception ignored" not in said
    if streams == "stdout":
        assert (b"stdout cannot be written (No space left on device)" in said) == (what == "full")


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_result_that_cannot_be_written_is_an_error(unbuffered: str) -> None:
    with open("/dev/full", "wb") as full:
        done = run("result", 0, code=EXTRA, stdout=full, env={"PYTHONUNBUFFERED": unbuffered})
    assert done.returncode == 1
    assert b"error: stdout cannot be written (No space left on device)" in done.stderr
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("form", ["csv", "markdown", "json", "table"])
def test_a_report_on_a_full_disk_is_an_error(storage: Path, form: str) -> None:
    with open("/dev/full", "wb") as full:
        done = run("report", "small", "--format", form, "--storage", storage, stdout=full)
    assert done.returncode == 1
    (line,) = done.stderr.decode().splitlines()
    assert line.startswith("error: stdout cannot be written (No space left on device)")


@pytest.mark.parametrize(
    "arguments",
    [
        ["methods"],
        ["methods", "--json"],
        ["report", "small"],
        ["report", "small", "--format", "csv"],
        ["status", "small"],
        ["status", "small", "--watch"],
        ["--help"],
        ["--version"],
    ],
)
def test_a_reader_that_leaves_ends_a_result_as_it_ends_every_program(
    storage: Path, arguments: list[str]
) -> None:
    writer = closed_pipe()
    done = run(*arguments, stdout=writer, env={"CURVETUNE_STORAGE": str(storage)})
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.parametrize("arguments", [["methods"], ["report", "small"], ["report", "nosuch"]])
def test_a_stream_that_is_not_there_at_all_changes_nothing(
    storage: Path, arguments: list[str]
) -> None:
    def close() -> None:
        os.close(1)
        os.close(2)

    done = run(
        *arguments,
        stdout=None,
        stderr=None,
        preexec_fn=close,
        env={"CURVETUNE_STORAGE": str(storage)},
    )
    assert done.returncode == (2 if "nosuch" in arguments else 0)


@pytest.mark.ray
def test_a_grid_ends_with_its_own_exit_code_whatever_can_be_shown(tmp_path: Path) -> None:
    grid = ["grid", "digits", "--profile", "smoke", "--methods", "cross-entropy", "--seeds", "0"]
    grid += ["--set", "noise_rate=0", "--set", "imbalance=1", "--storage", "results"]
    writer = closed_pipe()
    with open("/dev/full", "wb") as full:
        done = run(*grid, stdout=full, stderr=writer, cwd=tmp_path)
    os.close(writer)
    assert done.returncode == 0
    assert len(list((tmp_path / "results" / "cells").glob("*/DONE.json"))) == 1
    again = run(*grid, cwd=tmp_path, env={"PYTHONIOENCODING": "ascii"})
    assert again.returncode == 0
    assert again.stdout.isascii()
    assert b"cross-entropy" in again.stdout
    assert b"all 1 cells are done" in again.stderr
