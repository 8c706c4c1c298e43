"""The house is in order: folders, circles, names of files, and who asks which method it is."""

import ast
import re
from collections import Counter
from pathlib import Path

from curvetune.config import METHOD_SECTIONS
from curvetune.store import names

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "curvetune"
FILES = sorted(PACKAGE.rglob("*.py"))
MODULES = {".".join(f.relative_to(ROOT).with_suffix("").parts): f for f in FILES}
MODULES = {name.removesuffix(".__init__"): file for name, file in MODULES.items()}
MOST = 20  # files in a folder
LISTS = ("methods",)  # folders that are a list, one file for each entry


def test_no_folder_has_more_files_than_a_reader_takes_in() -> None:
    for top in ("curvetune", "tests", "benchmarks"):
        files = (ROOT / top).rglob("*.py")
        counts = Counter(file.parent for file in files if file.parent.name not in LISTS)
        assert counts
        assert max(counts.values()) <= MOST, counts.most_common(1)


def imported(file: Path) -> set[str]:
    """Return the modules that a file names in imports, wherever they stand, also for types."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom) and node.module:
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= inner if inner <= MODULES.keys() else {node.module, *inner}
    return found & MODULES.keys() - {"curvetune"}


def test_no_module_imports_itself_by_way_of_others() -> None:
    needs = {name: imported(file) for name, file in MODULES.items()}
    while free := {name for name, others in needs.items() if not others & needs.keys()}:
        needs = {name: others for name, others in needs.items() if name not in free}
    circle = {name: sorted(others & needs.keys()) for name, others in needs.items()}
    assert not circle


def test_planning_imports_nothing_heavy_wherever_the_import_stands() -> None:
    left, seen = [name for name in MODULES if name.startswith("curvetune.planning")], set[str]()
    while left:
        name = left.pop()
        if name in seen:
            continue
        seen.add(name)
        text = MODULES[name].read_text()
        assert not re.search(r"^\s*(import|from) (torch|ray|mlflow)\b", text, re.MULTILINE), name
        left += imported(MODULES[name])
    assert len(seen) > 20


def test_the_storage_alone_says_what_its_files_are_called() -> None:
    constants = {key: value for key, value in vars(names).items() if key.isupper()}
    called = {value for value in constants.values() if "." in value.lstrip(".")}
    assert {"DONE.json", "history.jsonl", "samples.safetensors"} <= called
    for file in FILES:
        if file.parent.name == "store":
            continue
        texts = {
            node.value
            for node in ast.walk(ast.parse(file.read_text()))
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        }
        assert not texts & called, file


def test_nobody_asks_which_method_a_section_is_of() -> None:
    concrete = {section.__name__ for section in METHOD_SECTIONS.values()}
    for file in FILES:
        if file.parent.name in ("methods", "config"):
            continue
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "isinstance":
                assert not concrete & set(re.findall(r"\w+", ast.unparse(node.args[1]))), file


def test_every_exit_code_and_kind_of_failure_has_one_home() -> None:
    for name in ("SOME_FAILED", "PREEMPTED", "FAILURE_KINDS"):
        homes = [f for f in FILES if re.search(rf"^{name}\b.*=", f.read_text(), re.MULTILINE)]
        assert homes == [PACKAGE / "errors.py"]
