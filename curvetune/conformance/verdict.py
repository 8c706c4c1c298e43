"""Runs the checks of all that a plugin registers, and says what came of each."""

import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curvetune.config import METHOD_SECTIONS
from curvetune.config.plugins import PLUGINS
from curvetune.conformance import methods, others
from curvetune.errors import CurvetuneError
from curvetune.plugins.blame import where
from curvetune.plugins.code import Plugin

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Verdict:
    """What came of one check.

    Args:
        reason: why it failed; empty if it passed.
    """

    kind: str
    name: str
    check: str
    reason: str
    seconds: float

    @property
    def passed(self) -> bool:
        """Whether it passed."""
        return not self.reason


def check_plugin(plugin: Plugin, data_dir: Path | None = None) -> Iterator[Verdict]:
    """Yield the verdict of each check on each thing that `plugin` registers.

    Args:
        data_dir: what a source is given.
    """
    for kind, name in PLUGINS.names_of(plugin.ref):
        yield from _check(plugin, kind, name, data_dir)


def _check(plugin: Plugin, kind: str, name: str, data_dir: Path | None) -> Iterator[Verdict]:
    checks: dict[str, Callable[[Any], None]]
    if kind == "method":
        subject: Any = METHOD_SECTIONS[name]()
        checks = dict(methods.CHECKS)
    else:
        subject = name
        checks = {
            "network": others.NETWORK_CHECKS,
            "transform": others.TRANSFORM_CHECKS,
            "source of images": others.source_checks(data_dir),
        }[kind]
    for title, check in checks.items():
        start = time.perf_counter()
        reason = _reason(plugin, check, subject)
        yield Verdict(kind, name, title, reason, time.perf_counter() - start)


def _reason(plugin: Plugin, check: Callable[[Any], None], subject: Any) -> str:
    """Return why a check failed, with the plugin's own line if it raised; empty if it passed."""
    try:
        with redirect_stdout(sys.stderr), warnings.catch_warnings():  # stdout: the verdicts
            # of PyTorch's own making, in forward mode
            warnings.filterwarnings("ignore", "`torch.jit.script", FutureWarning)
            check(subject)
    except (methods.Broken, CurvetuneError) as broken:
        return str(broken)
    except Exception as error:
        return where(plugin, error)
    return ""


def verdict_json(plugin: Plugin, verdicts: list[Verdict]) -> dict[str, Any]:
    """Return what `check --json` prints."""
    return {
        "schema_version": SCHEMA_VERSION,
        "plugin": plugin.ref.model_dump(),
        "passed": all(v.passed for v in verdicts),
        "checks": [
            {"kind": v.kind, "name": v.name, "check": v.check, "passed": v.passed}
            | {"reason": v.reason, "seconds": round(v.seconds, 3)}
            for v in verdicts
        ],
    }
