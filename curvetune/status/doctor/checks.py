"""All checks, and how they are run: at once, each for a limited time."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from curvetune.status.doctor.backends import ray, ray_authentication, tracker
from curvetune.status.doctor.finding import Finding, Subject
from curvetune.status.doctor.machine import cpus, gpus, shared_memory, sixteen_bits
from curvetune.status.doctor.place import clock, disk, file_system, ray_folder, renames
from curvetune.status.doctor.software import data, plugins, versions
from curvetune.system.redact import redact

LIMIT_S = 60.0  # for all of them
SLOW = "data"  # reads every image of a folder, where that is all there is

Check = Callable[[Subject], Sequence[Finding]]

CHECKS: dict[str, Check] = {
    "versions": versions,
    "ray": ray,
    "ray authentication": ray_authentication,
    "ray folder": ray_folder,
    "gpus": gpus,
    "cpus": cpus,
    "16 bits": sixteen_bits,
    "shared memory": shared_memory,
    "disk": disk,
    "file system": file_system,
    "renames": renames,
    "clock": clock,
    "tracker": tracker,
    "data": data,
    "plugins": plugins,
}


def examine(
    subject: Subject,
    checks: Mapping[str, Check] = CHECKS,
    limit_s: float = LIMIT_S,
    at: Callable[[str], object] = str,
) -> list[Finding]:
    """Return what the checks found, in their order, after `limit_s` seconds at most.

    Args:
        at: hears which check is waited for.
    """
    runs = [_Run(name, check, subject) for name, check in checks.items()]
    deadline = time.monotonic() + limit_s
    for run in runs:
        at(run.name)
        run.join(max(0.0, deadline - time.monotonic()))
    return [_redacted(finding) for run in runs for finding in run.findings(limit_s)]


class _Run(threading.Thread):
    """One check in a thread that the end of the process does not wait for."""

    def __init__(self, name: str, check: Check, subject: Subject) -> None:
        super().__init__(name=name, daemon=True)
        self._check = check
        self._subject = subject
        self._found: Sequence[Finding] | None = None
        self.start()

    def run(self) -> None:
        try:
            self._found = self._check(self._subject)
        except Exception as error:
            found = f"this check itself broke ({type(error).__name__}: {error})"
            advice = "please report it; what it looks at may be right or wrong"
            self._found = [Finding(self.name, "warn", found, advice)]

    def findings(self, limit_s: float) -> Sequence[Finding]:
        """Return what was found; where there is no answer yet, that."""
        if self._found is None:
            found = f"no answer within {limit_s:g} s"
            if self.name == SLOW:
                return [Finding(self.name, "note", found, "many images take longer to read")]
            advice = "what it looks at hangs: a server, a mounted folder or a driver"
            return [Finding(self.name, "fail", found, advice)]
        return self._found


def _redacted(finding: Finding) -> Finding:
    return replace(finding, found=redact(finding.found), advice=redact(finding.advice))
