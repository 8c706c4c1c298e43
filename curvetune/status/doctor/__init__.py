"""`curvetune doctor`: whether a grid can run here, and what to do where it cannot.

Every check is a function from a `Subject` to findings. All of them run at once, each in a thread of
its own, so that one that breaks or hangs (a dead file server) is only one line among the others.
"""

from curvetune.status.doctor.checks import CHECKS, examine
from curvetune.status.doctor.finding import Finding, Subject, findings_json, print_findings

__all__ = ["CHECKS", "Finding", "Subject", "examine", "findings_json", "print_findings"]
