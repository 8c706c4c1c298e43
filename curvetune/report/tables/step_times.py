"""The times of steps that `ablate skip-layers` measured, as a table."""

from pathlib import Path
from typing import Any

from curvetune.errors import CorruptError, printable
from curvetune.grids.labels import method_labels
from curvetune.report.sheet import Sheet
from curvetune.store.files import read_json
from curvetune.store.names import step_times_file
from curvetune.store.plain import check_inside


def read_step_times(storage: Path, grid: str) -> dict[str, Any] | None:
    """Return what was measured for a grid; None if nothing was.

    Raises:
        CorruptError: the file is none of ours.
        StorageError: it is a link out of the storage.
    """
    path = step_times_file(storage, grid.partition("@")[0])
    if not path.exists():
        return None
    check_inside(storage, path)
    return read_json(path)


def step_times_sheet(found: dict[str, Any]) -> Sheet:
    """Return the times of a step of each method: of learning the weights, and in all.

    Raises:
        CorruptError: what was read is none of ours.
    """
    try:
        steps = found["steps"]
        labels = method_labels([{"method": s["method"]} for s in steps])
        rows = [
            (
                label,
                _spread(step["meta_ms"]),
                f"{steps[0]['meta_ms'][1] / step['meta_ms'][1]:.2f}×",
                _spread(step["iteration_ms"]),
                str(int(step["pairs"])),
            )
            for label, step in zip(labels, steps, strict=True)
        ]
        first = steps[0]
        title = (
            f"{found['grid']}: time of a step in ms, median (quartiles); {first['model']}, batch "
            f"{first['batch_size']}, {found['device']}, {found['threads']} threads of the CPU"
        )
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise CorruptError(f"step_times: not a record of times ({error!r})") from None
    return Sheet(
        title=printable(title),
        header=(("method",), ("meta step",), ("faster",), ("iteration",), ("n",)),
        rows=tuple(rows),
    )


def _spread(quartiles: list[float]) -> str:
    low, middle, high = quartiles
    return f"{middle:.1f} ({low:.1f} to {high:.1f})"
