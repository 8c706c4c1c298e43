"""What a check looks at, what it says, and how that is shown."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.text import Text

SCHEMA_VERSION = 1
GIB = 1 << 30

Status = Literal["ok", "note", "warn", "fail"]
STYLES: dict[Status, str] = {"ok": "green", "note": "cyan", "warn": "yellow", "fail": "bold red"}


@dataclass(frozen=True)
class Subject:
    """What `curvetune grid` would be given: where it finds and keeps things, and runs."""

    storage: Path
    data_dir: Path | None = None
    tracking_uri: str | None = None
    address: str | None = None


@dataclass(frozen=True)
class Finding:
    """What a check found, and what to do about it.

    Args:
        status: `note` is worth knowing, `warn` costs time or safety, `fail` ends grids.
        found: one sentence.
        advice: what to do; empty where nothing is to be done.
    """

    name: str
    status: Status
    found: str
    advice: str = ""


def findings_json(findings: Sequence[Finding]) -> dict[str, Any]:
    """Return what `doctor --json` prints."""
    return {
        "schema_version": SCHEMA_VERSION,
        **{status: _count(findings, status) for status in STYLES},
        "checks": [
            {"name": f.name, "status": f.status, "found": f.found, "advice": f.advice}
            for f in findings
        ],
    }


def print_findings(findings: Sequence[Finding], console: Console) -> None:
    """Print a line for each finding, what to do below it, and how many are of which kind."""
    wide = max((len(f.name) for f in findings), default=0)
    for f in findings:
        head = Text(f"{f.status:4}", STYLES[f.status])
        console.print(head, Text(f"{f.name:{wide}}  {f.found}"), soft_wrap=True)
        if f.advice:
            console.print(Text(f"{'':{wide + 5}}  → {f.advice}"), soft_wrap=True)
    counts = ", ".join(f"{_count(findings, status)} {status}" for status in STYLES)
    console.print(f"\n{counts}", highlight=False, soft_wrap=True)


def _count(findings: Sequence[Finding], status: Status) -> int:
    return sum(f.status == status for f in findings)
