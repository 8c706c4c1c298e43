"""The rows of benchmarks: each is in the file of its benchmark, and none is lost or changed."""

import csv
from pathlib import Path

import pytest

from benchmarks.timing import RESULTS, append

COMMON = {"device", "threads", "torch", "python", "commit"}


def rows(file: Path) -> list[dict[str, str]]:
    with file.open(newline="", encoding="utf-8") as source:
        return list(csv.DictReader(source))


def test_a_row_is_appended_to_the_file_of_its_benchmark_with_its_columns_alone(
    tmp_path: Path,
) -> None:
    append([{"benchmark": "a", "x": "1, 2"}, {"benchmark": "b", "y": 2.50}], tmp_path)
    append([{"benchmark": "a", "x": 'say "3"'}], tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {"a.csv", "b.csv"}
    assert [row["x"] for row in rows(tmp_path / "a.csv")] == ["1, 2", 'say "3"']
    assert rows(tmp_path / "a.csv")[0].keys() == {"benchmark", "x"} | COMMON
    assert rows(tmp_path / "b.csv")[0].keys() == {"benchmark", "y"} | COMMON


def test_older_rows_stay_as_they_are_when_a_column_comes_or_goes(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("benchmark,x,commit\na,0.10,0123-dirty\na,1e-3,\n")
    append([{"benchmark": "a", "y": "new"}], tmp_path)
    old, older, new = rows(tmp_path / "a.csv")
    assert (old["x"], old["commit"], old["y"]) == ("0.10", "0123-dirty", "")
    assert (older["x"], older["commit"]) == ("1e-3", "")
    assert (new["x"], new["y"]) == ("", "new")


@pytest.mark.parametrize("file", sorted(RESULTS.glob("*.csv")), ids=lambda file: file.stem)
def test_a_file_of_results_is_about_one_benchmark_and_has_no_column_of_another(file: Path) -> None:
    found = rows(file)
    assert {row["benchmark"] for row in found} == {file.stem}
    assert [name for name in found[0] if not any(row[name] for row in found)] == []
