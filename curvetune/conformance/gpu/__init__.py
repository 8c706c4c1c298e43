"""A trial of everything that runs on a device: `curvetune doctor --gpu`."""

from curvetune.conformance.gpu.rows import Row, facts, markdown
from curvetune.conformance.gpu.trial import try_device

__all__ = ["Row", "facts", "markdown", "try_device"]
