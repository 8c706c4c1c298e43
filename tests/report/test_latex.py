"""LaTeX tables compile as they are: checked by their grammar, and by pdflatex where it is."""

import re
import shutil
import subprocess
from itertools import accumulate
from pathlib import Path

import pytest
from storage_fixtures import finish, make_cells, write_grid

from curvetune.grids.cells import read_grid
from curvetune.report import latex
from curvetune.report.document import as_latex
from curvetune.report.sheet import Sheet
from curvetune.report.tables.detail import table
from curvetune.report.tables.main import report_document

EVIL = r"a_b & 50% #1 $x$ {y} ~ ^ \input{z} [2] * < > | ± × − … é 中 -1.5"
DOCUMENT = r"\documentclass{article}\usepackage{booktabs,longtable}\begin{document}%s\end{document}"


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three methods, of which two are alike, in four settings and three seeds."""
    root = tmp_path_factory.mktemp("storage")
    methods = [{"name": name} for name in ("cross-entropy", "focal", "curvenet")]
    cells = make_cells(methods=methods, seeds=(0, 1, 2))
    for k, cell in enumerate(cells):
        above = {"curvenet": 5.0, "focal": 0.3 * (-1) ** (k // 3)}.get(cell.method.name, 0.0)
        finish(root, cell, 70 + above + k // 3 / 50)
    write_grid(root, cells)
    return root


def problems(text: str) -> list[str]:
    """Return what LaTeX would stumble over: braces, environments, columns, bare characters."""
    text = text.replace(r"\textbackslash{}", "")
    body = "\n".join(line for line in text.splitlines() if not line.startswith("%"))
    dollars = len(re.findall(r"(?<!\\)\$", body))
    odd = ["$ does not end"] * (dollars % 2)
    return [*_braces(body), *_environments(body), *_columns(body), *odd]


def _braces(body: str) -> list[str]:
    tokens = re.findall(r"\\\\|\\[a-zA-Z]+|\\.|[{}]|[#%~^_]|[^\x00-\u017f]", body)
    depths = list(accumulate({"{": 1, "}": -1}.get(token, 0) for token in tokens))
    bare = [f"bare {t}" for t in tokens if t in "#%~^_" or ord(t[0]) > 0x17F]
    return bare + ["braces do not match"] * (min(depths) < 0 or depths[-1] != 0)


def _environments(body: str) -> list[str]:
    opened: list[str] = []
    for kind, name in re.findall(r"\\(begin|end)\{(\w+)\}", body):
        if kind == "begin":
            opened.append(name)
        elif not opened or opened.pop() != name:
            return [f"{name} ends where it did not begin"]
    return [f"{name} is open" for name in opened]


def _columns(body: str) -> list[str]:
    found = []
    (columns,) = {len(c) for c in re.findall(r"\\begin\{(?:tabular|longtable)\}\{([lr]+)\}", body)}
    for line in body.splitlines():
        if line.rstrip().endswith(r"\\") and r"\caption" not in line:
            spans = [int(n) for n in re.findall(r"\\multicolumn\{(\d+)\}", line)]
            cells = len(re.findall(r"(?<!\\)&", line)) + 1 + sum(spans) - len(spans)
            found += [f"{cells} cells in {columns} columns: {line}"] * (cells != columns)
    return found


def compiles(text: str, folder: Path) -> None:
    """Compile `text` inside a minimal document, where there is a LaTeX."""
    if shutil.which("pdflatex") is None:
        return
    (folder / "a.tex").write_text(DOCUMENT % text, encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "a.tex"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]


@pytest.mark.parametrize("name", ["report", "ma", "seeds", "cells", "significance"])
def test_every_table_of_a_report_compiles(name: str, storage: Path, tmp_path: Path) -> None:
    grid = read_grid(storage, "small")
    found = (
        report_document(storage, grid) if name == "report" else table(storage, grid, name, "last")
    )
    text = as_latex(found)
    assert problems(text) == []
    assert text.count(r"\begin{t") == 2  # one table, with one tabular in it
    assert text.count(r"\caption") == text.count(r"\label") == 1
    assert rf"\label{{tab:small-{name}}}" in text
    assert text.startswith(r"% needs \usepackage{booktabs}")
    compiles(text, tmp_path)


def test_what_names_say_is_printed_and_does_nothing(tmp_path: Path) -> None:
    rows = ((EVIL, "-1.5"), ("[x", "*"))
    text = latex.document([Sheet(EVIL, ((EVIL,), ("n",)), rows, frozenset({(0, 0)}))], [EVIL], EVIL)
    assert problems(text) == []
    assert r"\textbackslash{}input\{z\}" in text
    assert r"a\_b \& 50\% \#1 \$x\$" in text
    assert "{[}U+4E2D{]}" in text
    assert "& $-$1.5" in text
    assert r"\label{tab:a-b-50-1-x-y-input-z-2-1-5}" in text
    compiles(text, tmp_path)


def test_a_long_table_goes_on_on_the_next_page(tmp_path: Path) -> None:
    rows = tuple((f"method {k}", str(k)) for k in range(latex.LONG + 1))
    text = latex.document([Sheet("many", (("method",), ("n",)), rows)], [], "many")
    assert text.startswith(r"% needs \usepackage{booktabs,longtable}")
    assert r"\begin{table}" not in text
    assert problems(text) == []
    compiles(text, tmp_path)


def test_bold_is_what_the_test_tells_apart_and_the_caption_says_so(storage: Path) -> None:
    text = as_latex(report_document(storage, read_grid(storage, "small")))
    (line,) = [line for line in text.splitlines() if r"\textbf" in line]
    assert line.strip().startswith("curvenet &")
    assert line.count(r"\textbf") == 1  # its MA
    caption = text[text.index(r"\caption") : text.index(r"\label")]
    assert "Bold: the best MA, and those not told apart from it." in caption
    assert "Verdict: curvenet is better than" in caption
    assert "Wilcoxon's signed-rank test" in caption
    assert "mean $\\pm$ sample standard deviation over 3 seeds" in caption


def test_nothing_is_bold_where_nothing_can_be_told_apart(tmp_path: Path) -> None:
    cells = make_cells(seeds=(0,))
    for k, cell in enumerate(cells):
        finish(tmp_path, cell, 50 + 20 * (k % 2))
    write_grid(tmp_path, cells)
    text = as_latex(report_document(tmp_path, read_grid(tmp_path, "small")))
    assert r"\textbf" not in text
    assert "No bold." in text
    assert "with 4 pairs no p can be below 0.125" in text


def test_settings_that_share_an_imbalance_stand_below_it_once(storage: Path) -> None:
    lines = as_latex(report_document(storage, read_grid(storage, "small"))).splitlines()
    (above,) = [k for k, line in enumerate(lines) if "multicolumn" in line]
    assert r"\multicolumn{2}{c}{imbalance 1} & \multicolumn{2}{c}{imbalance 10}" in lines[above]
    assert lines[above + 1].split() == [r"\cmidrule(lr){2-3}", r"\cmidrule(lr){4-5}"]
    assert "method & noise 0 & noise 0.4 & noise 0 & noise 0.4 & MA" in lines[above + 2]
