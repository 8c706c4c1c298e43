"""The history of a run: a line for each epoch, whole whenever it is read."""

import json
import resource
from pathlib import Path

import pytest

from curvetune.errors import StorageError
from curvetune.store.history import History, HistoryRow, read_rows, write_rows


def append_all(
    path: Path, found: list[HistoryRow], new: list[HistoryRow], error: BaseException | None = None
) -> None:
    """Append rows as a run does, which then may fail."""
    with History(path, found) as history:
        for row in new:
            history.append(row)
        if error is not None:
            raise error


def rows(count: int, run: str = "a") -> list[HistoryRow]:
    return [{"epoch": k, "loss": 1 / (k + 1), "run": run} for k in range(count)]


def test_history_is_rows_of_json(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    assert read_rows(path) == []
    write_rows(path, [{"epoch": 0, "loss": 1.5}, {"epoch": 1, "loss": 0.5}])
    assert [json.loads(line)["epoch"] for line in path.read_text().splitlines()] == [0, 1]
    assert read_rows(path)[1]["loss"] == 0.5
    with pytest.raises(ValueError, match="JSON compliant"):
        write_rows(path, [{"loss": float("nan")}])


def test_a_row_can_be_read_as_soon_as_it_is_appended(tmp_path: Path) -> None:
    path = tmp_path / "run" / "history.jsonl"
    with History(path, []) as history:
        assert not path.exists()
        for k, row in enumerate(rows(4)):
            history.append(row)
            assert read_rows(path) == rows(k + 1)
    assert read_rows(path) == rows(4)


def test_an_epoch_writes_its_own_line_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    with History(path, []) as history:
        history.append({"epoch": 0})
        file = path.stat().st_ino
        path.write_bytes(path.read_bytes().replace(b"0", b"7"))  # to see that it stays as it is
        for row in rows(3)[1:]:
            history.append(row)
        assert path.stat().st_ino == file
        assert [row["epoch"] for row in read_rows(path)] == [7, 1, 2]


def test_half_a_line_is_not_read_wherever_it_ends(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    write_rows(path, rows(3))
    content = path.read_bytes()
    for size in range(len(content) + 1):
        path.write_bytes(content[:size])
        assert read_rows(path) == rows(content[:size].count(b"\n"))


def test_a_run_that_goes_on_from_its_checkpoint_drops_what_lies_beyond(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    write_rows(path, rows(4, "killed"))
    path.write_bytes(path.read_bytes() + b'{"epoch": 4, "lo')
    kept = rows(2, "killed")
    with History(path, kept) as history:
        for row in rows(4)[2:]:
            history.append(row)
            assert read_rows(path) == kept
    assert read_rows(path) == rows(2, "killed") + rows(4)[2:]


def test_two_runs_of_the_same_probe_never_mix_their_rows(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    a, b = History(path, []), History(path, [])
    with b:
        with a:
            a.append(rows(1)[0])
            b.append(rows(1, "b")[0])
            a.append(rows(2)[1])
            assert read_rows(path) == rows(1, "b")
        assert read_rows(path) == rows(2)
        b.append(rows(2, "b")[1])
        assert read_rows(path) == rows(2)  # what `a` publishes stays what its checksum says
    assert read_rows(path) == rows(2, "b")


def test_a_run_that_fails_leaves_its_rows(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    with pytest.raises(KeyboardInterrupt):
        append_all(path, [], rows(2), KeyboardInterrupt())
    assert read_rows(path) == rows(2)


def test_a_number_that_is_not_finite_is_refused_and_leaves_the_rows(tmp_path: Path) -> None:
    path, found = tmp_path / "history.jsonl", rows(1)
    with pytest.raises(ValueError, match="JSON compliant"):
        append_all(path, found, [rows(2)[1], {"loss": float("inf")}])
    assert found == read_rows(path) == rows(2)


def test_a_full_disk_is_an_error_that_names_the_file_and_the_rows_before_are_kept(
    tmp_path: Path,
) -> None:
    path = tmp_path / "history.jsonl"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with History(path, []) as history:
        history.append(rows(1)[0])
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 5, hard))
        try:
            with pytest.raises(StorageError, match=r"history\.jsonl: cannot be written"):
                history.append(rows(2)[1])
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert path.stat().st_size > len(json.dumps(rows(1)[0])) + 1  # half a line is there
        assert read_rows(path) == rows(1)
