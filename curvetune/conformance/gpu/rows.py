"""What the trial of a device says, as a table that can be pasted into an issue."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch

from curvetune.system.machine import nvidia_smi
from curvetune.training.provenance import provenance

SCHEMA_VERSION = 1
Status = Literal["ok", "note", "warn", "fail"]
HEADER = ("what", "status", "eager ms", "graphs ms", "found")


@dataclass(frozen=True)
class Row:
    """What came of one trial.

    Args:
        status: `note` is worth knowing, `warn` costs speed, `fail` costs numbers or grids.
        eager_ms: time of a step that is run as it is; None if that was not timed.
        graph_ms: time of a step from a CUDA graph.
    """

    what: str
    status: Status
    found: str
    eager_ms: float | None = None
    graph_ms: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return it with its numbers in full."""
        return asdict(self)


def facts(device: torch.device) -> dict[str, str]:
    """Return what the device and its software are; nothing names a host, a user or a path."""
    made = provenance(device)
    found = {"device": str(made["device"]), **made["versions"], "commit": str(made["commit"])}
    if device.type == "cuda":
        driver = nvidia_smi()
        found["driver"] = driver[0].get("driver_version", "?") if driver else "?"
        found["cuda"] = str(torch.version.cuda)
        found["cudnn"] = str(torch.backends.cudnn.version())  # type: ignore[no-untyped-call]
        found["memory"] = f"{torch.cuda.get_device_properties(device).total_memory / 1e9:.0f} GB"
    return found


def markdown(about: Mapping[str, str], rows: Sequence[Row]) -> str:
    """Return all of it as Markdown."""
    head = "; ".join(f"{name} {value}" for name, value in about.items())
    lines = [head, "", _line(HEADER), _line(["---"] * len(HEADER))]
    for row in rows:
        times = [_ms(row.eager_ms), _ms(row.graph_ms)]
        lines.append(_line([row.what, row.status, *times, row.found]))
    counts = [f"{sum(r.status == s for r in rows)} {s}" for s in ("ok", "note", "warn", "fail")]
    return "\n".join([*lines, "", ", ".join(counts)])


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def _ms(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
