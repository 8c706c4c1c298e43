"""Which code made a result, and when that is said."""

import ast
import shutil
import subprocess
from pathlib import Path

import pytest
from storage_fixtures import finish, make_cells, write_grid
from typer.testing import CliRunner

import curvetune
from curvetune import data
from curvetune.cli import app
from curvetune.config import CellConfig
from curvetune.grids.cells import read_grid
from curvetune.report.tables.main import footnotes
from curvetune.store import CellStore
from curvetune.system import source_code
from curvetune.system.source_code import CORE, Code, mixture, others, this_code

PACKAGE = Path(curvetune.__file__).parent
HERE = Code("aaaa", "1111")


def modules_of(name: str) -> set[str]:
    """Return every file of the package that importing module `name` can import, itself too."""
    found, left = set[str](), [name]
    while left:
        path = PACKAGE.joinpath(*left.pop().split(".")[1:])
        path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        if not path.is_file() or str(path.relative_to(PACKAGE)) in found:
            continue
        found.add(str(path.relative_to(PACKAGE)))
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("curvetune"):
                left += [str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)]
    return found - {"__init__.py"}


def test_the_digest_covers_all_that_a_cell_imports_and_no_table_or_command() -> None:
    needed = modules_of("curvetune.cell")
    covered = {
        str(path.relative_to(PACKAGE))
        for name in CORE
        for path in ([PACKAGE / name] if name.endswith(".py") else (PACKAGE / name).rglob("*.py"))
    }
    assert needed <= covered
    assert all((PACKAGE / name).exists() for name in CORE)
    assert not any(name.startswith(("report", "cli", "tune", "tracking")) for name in covered)


def test_the_digest_follows_the_core_alone(tmp_path: Path) -> None:
    copy = tmp_path / "curvetune"
    shutil.copytree(PACKAGE, copy)
    before = source_code._digest(copy)
    assert before == this_code().source
    (copy / "report" / "sheet.py").write_text("# other tables")
    source_code._digest.cache_clear()
    assert source_code._digest(copy) == before
    (copy / "methods" / "focal.py").write_text("# another loss")
    source_code._digest.cache_clear()
    assert source_code._digest(copy) != before


def git(folder: Path, *arguments: str) -> str:
    who = ["-c", "user.name=n", "-c", "user.email=e@example.com", "-c", "init.defaultBranch=main"]
    command = ["git", "-C", str(folder), *who, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_the_commit_is_that_of_the_checkout_and_says_what_is_uncommitted(tmp_path: Path) -> None:
    package = tmp_path / "curvetune"
    package.mkdir()
    (package / "__init__.py").write_text("")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "first")
    head = git(tmp_path, "rev-parse", "--short=12", "HEAD")
    assert source_code._commit.__wrapped__(package) == head
    (package / "__init__.py").write_text("changed = True")
    dirty = source_code._commit.__wrapped__(package)
    assert dirty == f"{head}-dirty"
    assert Code(dirty, None).is_dirty


def test_an_installed_package_has_no_commit_though_the_users_repository_is_around_it(
    tmp_path: Path,
) -> None:
    (tmp_path / "study.py").write_text("")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "a study of the user's")
    package = tmp_path / ".venv" / "lib" / "site-packages" / "curvetune"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    assert source_code._commit.__wrapped__(package) is None
    assert source_code._commit.__wrapped__(tmp_path / "nowhere") is None


@pytest.mark.parametrize(
    ("made", "is_other"),
    [
        (Code("aaaa", "1111"), False),
        (Code("bbbb", "1111"), False),  # a commit that changed the docs
        (Code("aaaa", "2222"), True),  # changed since, and not committed
        (Code("aaaa-dirty", None), True),  # an older result, which has the commit alone
        (Code("bbbb", None), True),
        (Code("aaaa", None), False),
        (Code(None, None), False),  # nobody knows
        (Code(None, "2222"), True),
    ],
)
def test_sources_decide_and_commits_where_they_are_all_that_is_known(
    made: Code, is_other: bool
) -> None:
    assert made.is_other_than(HERE) is is_other
    assert HERE.is_other_than(made) is is_other
    said = others([HERE, made], HERE)
    assert (said is not None) is is_other
    if said is not None:
        assert said.startswith("1 of 2 results that are reused were made by other code")
        assert str(made) in said


def test_a_mixture_is_counted_and_uncommitted_code_is_said_even_alone() -> None:
    assert mixture([HERE, HERE, Code(None, None)]) == []
    (note,) = mixture([HERE, HERE, Code("bbbb", "2222")])
    assert note.endswith("different code: commit aaaa: 2, commit bbbb: 1")
    (note,) = mixture([Code("cccc-dirty", "3333")] * 3)
    assert note.startswith("3 of 3 results were made with uncommitted changes")


def test_plan_says_once_how_many_reused_results_other_code_made(tmp_path: Path) -> None:
    space = tmp_path / "s.yaml"
    space.write_text("base: {data: {name: digits}}\ngrid: {seed: [0, 1, 2]}\n")
    digest = data.digest("digits")
    store = CellStore(tmp_path / "results")
    for seed, source in ((0, "0" * 16), (1, this_code().source)):
        cell_id = CellConfig(seed=seed).cell_id(digest)
        store.folder(cell_id).mkdir(parents=True)
        for name in ("config.json", "history.jsonl", "model.safetensors", "samples.safetensors"):
            (store.folder(cell_id) / name).write_text("{}")
        store.publish(cell_id, {"accuracy": 90.0, "commit": "c" * 12, "source": source})
    told = CliRunner().invoke(app, ["plan", str(space), "--storage", str(tmp_path / "results")])
    assert told.exit_code == 0, told.output
    assert told.stderr.count("made by other code") == 1
    assert "1 of 2 results that are reused were made by other code" in told.stderr
    assert "commit cccccccccccc: 1" in told.stderr


def test_the_report_of_one_code_says_nothing_and_of_two_says_it(tmp_path: Path) -> None:
    cells = make_cells()
    write_grid(tmp_path, cells)
    for cell in cells[:-1]:
        finish(tmp_path, cell, 80.0, source="1" * 16)
    assert not any("code" in note for note in footnotes(read_grid(tmp_path, "small")))
    finish(tmp_path, cells[-1], 80.0, source="2" * 16, commit="d" * 12)
    notes = footnotes(read_grid(tmp_path, "small"))
    assert any("made by different code: commit " + "c" * 40 in note for note in notes)
