"""What is recorded of a streamed set: a file by column, which memory need not hold."""

import io
import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from test_cell import CPU, DIGEST, files_of, small_cell

from curvetune import data
from curvetune.cell import run_cell
from curvetune.config import CellConfig
from curvetune.data.source import Dataset
from curvetune.errors import CorruptError, StoppedError
from curvetune.store import CurveStore, arrays
from curvetune.store.names import COLUMNS
from curvetune.training.columns import Columns

ROWS, EPOCHS = 7, 4


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return data.load("digits")


def kept_in(residence: str) -> CellConfig:
    cell = small_cell()
    return cell.model_copy(update={"data": cell.data.model_copy(update={"residence": residence})})


def written(folder: Path, epochs: int) -> tuple[Columns, torch.Tensor]:
    """Return columns of which so many are filled, and what is in them."""
    columns, values = Columns(folder), torch.randn(ROWS, EPOCHS)
    matrix = columns.begin("loss", ROWS, EPOCHS, torch.float32)
    for epoch in range(epochs):
        matrix[:, epoch] = values[:, epoch]
        columns.filled("loss", matrix[:, epoch])
    return columns, values


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_a_matrix_goes_on_with_the_columns_that_it_has(tmp_path: Path, dtype: torch.dtype) -> None:
    values = torch.randn(ROWS, EPOCHS).to(dtype)
    columns = Columns(tmp_path)
    matrix = columns.begin("loss", ROWS, EPOCHS, dtype)
    matrix[:, 0] = values[:, 0]
    columns.filled("loss", matrix[:, 0])
    again = Columns(tmp_path)
    matrix = again.resume("loss", ROWS, EPOCHS, dtype, columns.sums["loss"])
    for epoch in range(1, EPOCHS):
        matrix[:, epoch] = values[:, epoch]
        again.filled("loss", matrix[:, epoch])
    whole = Columns(tmp_path).resume("loss", ROWS, EPOCHS, dtype, again.sums["loss"])
    assert torch.equal(whole, values)


def test_a_column_after_those_of_the_checkpoint_is_written_anew(tmp_path: Path) -> None:
    columns, values = written(tmp_path, 3)
    matrix = Columns(tmp_path).resume("loss", ROWS, EPOCHS, torch.float32, columns.sums["loss"][:1])
    assert torch.equal(matrix[:, 0], values[:, 0])


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.unlink(),
        lambda path: path.write_bytes(path.read_bytes()[: ROWS * 4 + 1]),
        lambda path: path.write_bytes(b"\1" + path.read_bytes()[1:]),
        lambda path: path.write_bytes(b""),
    ],
    ids=["gone", "short", "changed", "empty"],
)
def test_files_that_are_not_as_they_were_are_not_gone_on_with(
    tmp_path: Path, damage: Callable[[Path], object]
) -> None:
    columns, _ = written(tmp_path, 2)
    damage(tmp_path / f"loss{COLUMNS}")
    with pytest.raises(CorruptError, match="loss"):
        Columns(tmp_path).resume("loss", ROWS, EPOCHS, torch.float32, columns.sums["loss"])


@pytest.mark.parametrize("order", ["C", "F"])
def test_curves_are_written_in_parts_as_numpy_writes_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, order: str
) -> None:
    monkeypatch.setattr(arrays, "BYTES_AT_ONCE", 100)
    curves = np.asarray(np.random.default_rng(0).random((50, 3), np.float32), order=order)
    CurveStore(tmp_path).write("a" * 16, curves, {})
    expected = io.BytesIO()
    np.save(expected, np.ascontiguousarray(curves))
    file = CurveStore(tmp_path).folder("a" * 16) / "curves.npy"
    assert file.read_bytes() == expected.getvalue()


@pytest.mark.parametrize(("first", "then"), [("resident", "streamed"), ("streamed", "resident")])
def test_a_probe_goes_on_where_images_are_kept_elsewhere(
    tmp_path: Path, digits: Dataset, first: str, then: str
) -> None:
    cell, seen = kept_in(first), list[int]()
    with pytest.raises(StoppedError):
        run_cell(
            cell,
            DIGEST,
            digits,
            tmp_path / "moved",
            device=CPU,
            on_event=lambda event: seen.append(event.get("epoch", -1)),
            stop=lambda: len(seen) == 2,
        )
    after: list[tuple[str, int]] = []
    run_cell(
        kept_in(then),
        DIGEST,
        digits,
        tmp_path / "moved",
        device=CPU,
        on_event=lambda event: after.append((event["stage"], event.get("epoch", -1))),
    )
    assert after[:2] == [("probe", 2), ("probe", 3)]
    run_cell(cell, DIGEST, digits, tmp_path / "straight", device=CPU)
    assert files_of(tmp_path / "moved", cell) == files_of(tmp_path / "straight", cell)
    assert not list((tmp_path / "moved").rglob(f"*{COLUMNS}"))


def test_a_probe_whose_columns_were_damaged_starts_over_and_says_so(
    tmp_path: Path, digits: Dataset, caplog: pytest.LogCaptureFixture
) -> None:
    cell, seen = kept_in("streamed"), list[int]()
    options = {"device": CPU, "checkpoint_every": 1}
    with pytest.raises(StoppedError):
        run_cell(
            cell,
            DIGEST,
            digits,
            tmp_path / "hurt",
            on_event=lambda event: seen.append(event.get("epoch", -1)),
            stop=lambda: len(seen) == 2,
            **options,
        )
    (file,) = (tmp_path / "hurt").rglob(f"loss{COLUMNS}")
    file.write_bytes(b"\1" + file.read_bytes()[1:])
    with caplog.at_level(logging.WARNING):
        run_cell(cell, DIGEST, digits, tmp_path / "hurt", **options)
    assert "starts over" in caplog.text
    run_cell(cell, DIGEST, digits, tmp_path / "straight", **options)
    assert files_of(tmp_path / "hurt", cell) == files_of(tmp_path / "straight", cell)
