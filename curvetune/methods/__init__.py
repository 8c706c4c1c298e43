"""The table of methods: a name, its builder. Facts about each are in its section of the config."""

from collections.abc import Callable
from typing import Any

from curvetune.config import MethodConfig
from curvetune.methods import cross_entropy, curvenet, mw_net_noise
from curvetune.methods.base import Method, Parts

__all__ = ["METHODS", "Method", "Parts", "build"]

METHODS: dict[str, Callable[[Any, Parts], Method]] = {
    "cross-entropy": cross_entropy.build,
    "mw-net-noise": mw_net_noise.build,
    "curvenet": curvenet.build,
}


def build(config: MethodConfig, parts: Parts) -> Method:
    """Build the method that a section of the config describes."""
    name: str = config.model_dump()["name"]
    return METHODS[name](config, parts)
