"""F15: a name out of a file is shown letter by letter on a terminal, a page and paper."""

import contextlib
import io
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console
from storage_fixtures import finish, make_cells, write_grid

from curvetune.errors import CurvetuneError
from curvetune.grids.activity import grid_progress
from curvetune.grids.cells import read_grid
from curvetune.report.tables.main import print_report, render
from curvetune.status.table import live_view, print_status, progress_json
from curvetune.store import CellStore
from curvetune.system.terminal import plain_console

pytestmark = pytest.mark.faults

# ---------------------------------------------------------------- names that are markup


NAMES = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "[red]a[/red][link=file:///etc/passwd]b[/link]",
    "[/]:bomb:",
    "\x1b[31m\x1b]0;title\x07",
    "a|b`c`\r\nd",
    "](javascript:alert(1))",
    "\ud800",
    r"\input{/etc/passwd} \\ & % $ #",
)


def hostile_storage(root: Path, text: str) -> None:
    cells = make_cells(methods=[{"name": "cross-entropy"}, {"name": "focal"}], seeds=[0])
    for cell in cells:
        finish(root, cell, 50.0)
    write_grid(root, cells)
    path = root / "grids" / "small.json"
    record = json.loads(path.read_text())
    for entry in record["cells"]:
        config = entry["config"]
        config["method"] |= {"name": text, "recipe": text}
        config["data"]["name"] = config["model"]["name"] = config["bias"]["noise"] = text
    record["cells"][0]["config"]["method"]["other"] = text
    record["command"] = text
    path.write_text(json.dumps(record))


def terminal(do: Callable[[Console], None]) -> str:
    """Return what `do` prints on a terminal with colours."""
    text = io.StringIO()
    do(plain_console(file=text, force_terminal=True, width=2000))
    return text.getvalue()


STYLE = re.compile(r"\x1b\[[0-9;]*m")  # bold, dim and the colours of the states


@pytest.mark.parametrize("text", NAMES)
def test_a_report_on_a_terminal_shows_names_letter_by_letter(tmp_path: Path, text: str) -> None:
    hostile_storage(tmp_path, text)
    shown = terminal(lambda console: print_report(tmp_path, "small", console))
    plain = STYLE.sub("", shown)
    assert "\x1b" not in plain
    assert "\r" not in plain
    assert "\x07" not in plain
    assert "\x1b[31m" not in shown
    assert "\x1b]8" not in shown  # a link
    if text.isprintable():
        assert text in plain
    shown.encode()


@pytest.mark.parametrize("text", NAMES)
def test_status_shows_names_letter_by_letter(tmp_path: Path, text: str) -> None:
    hostile_storage(tmp_path, text)
    store, cells = CellStore(tmp_path), read_grid(tmp_path, "small").cells
    (store.folder(cells[0].cell_id) / "DONE.json").unlink()
    store.fail(cells[0].cell_id, f"ValueError: {text}", f"Traceback\n  {text}")
    progress = grid_progress(read_grid(tmp_path, "small"))

    def show(console: Console) -> None:
        print_status(progress, console, tmp_path)
        console.print(live_view(progress, 10))

    shown = terminal(show)
    plain = STYLE.sub("", shown)
    assert "\x1b" not in plain
    assert "\r" not in plain
    assert "\x1b]8" not in shown
    if text.isprintable():
        assert text in plain
    shown.encode()
    assert json.loads(json.dumps(progress_json(progress, tmp_path)))


@pytest.mark.parametrize("text", NAMES)
def test_markdown_and_latex_escape_what_they_would_read(tmp_path: Path, text: str) -> None:
    hostile_storage(tmp_path, text)
    shown = render(tmp_path, "small", "markdown")
    assert "<" not in shown
    assert "](" not in shown
    rows = [line for line in shown.splitlines() if line.startswith("|")]
    assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows if "MA" in rows[0]}) <= 2
    latex = render(tmp_path, "small", "latex")
    assert r"\input" not in latex
    render(tmp_path, "small", "csv")
    for form in ("markdown", "latex", "csv"):
        assert "\x1b" not in render(tmp_path, "small", form)


def test_every_console_of_the_package_takes_text_for_text() -> None:
    package = Path(sys.modules["curvetune"].__file__ or "").parent
    made = [
        f"{path.relative_to(package)}: {line.strip()}"
        for path in package.rglob("*.py")
        for line in path.read_text(encoding="utf-8").splitlines()
        if re.search(r"\bConsole\(", line) and path.name != "console.py"
    ]
    assert made == []


@pytest.mark.parametrize("text", NAMES)
def test_the_names_of_grids_are_listed_letter_by_letter(
    tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from curvetune.cli.report import status

    write_grid(tmp_path, make_cells(seeds=[0]))
    name = text.replace("/", "_").replace("\ud800", "\udcff")
    grids = tmp_path / "grids"
    (grids / "small.json").rename(grids / f"{name}.json")
    with contextlib.suppress(CurvetuneError):
        status(storage=tmp_path)
    shown = capsys.readouterr().out
    assert "\x1b" not in STYLE.sub("", shown)
    shown.encode()
