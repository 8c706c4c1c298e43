"""Methods that only change the loss of a sample."""

from typing import Literal

from curvetune.sections.method import MethodConfig
from curvetune.sections.training import AllocateConfig


class CrossEntropyConfig(MethodConfig):
    """Cross entropy on the given labels: the baseline."""

    source = "methods.md 6.1"
    native = AllocateConfig(warmup=0)

    name: Literal["cross-entropy"] = "cross-entropy"
