"""The table of methods: a name, its builder. Facts about each are in its section of the config."""

from collections.abc import Callable
from typing import Any

from curvetune.config import MethodConfig
from curvetune.config.plugins import PLUGINS
from curvetune.errors import ConfigError
from curvetune.methods import (
    balanced_softmax,
    bootstrapping,
    class_balanced,
    cleannet,
    cmw_net,
    co_teaching,
    cross_entropy,
    crt,
    curvenet,
    distill,
    dividemix,
    dynamic_loss,
    elr,
    elr_plus,
    famus,
    focal,
    gce,
    glc,
    har,
    l2rw,
    lccn,
    ldam_drw,
    logit_adjustment,
    mentornet,
    metacleaner,
    mw_net_imb,
    mw_net_noise,
    o2u_net,
    rolt_drw,
    s_adaptation,
    sce,
    self_learning,
    sop,
)
from curvetune.methods.base import Method, Parts

__all__ = ["METHODS", "Method", "Parts", "build"]

METHODS: dict[str, Callable[[Any, Parts], Method]] = {
    "cross-entropy": cross_entropy.build,
    "class-balanced": class_balanced.build,
    "focal": focal.build,
    "ldam-drw": ldam_drw.build,
    "co-teaching": co_teaching.build,
    "o2u-net": o2u_net.build,
    "mw-net-noise": mw_net_noise.build,
    "mw-net-imb": mw_net_imb.build,
    "har": har.build,
    "curvenet": curvenet.build,
    "bootstrapping": bootstrapping.build,
    "s-adaptation": s_adaptation.build,
    "lccn": lccn.build,
    "cleannet": cleannet.build,
    "metacleaner": metacleaner.build,
    "self-learning": self_learning.build,
    "distill": distill.build,
    "famus": famus.build,
    "l2rw": l2rw.build,
    "glc": glc.build,
    "mentornet": mentornet.build,
    "cmw-net": cmw_net.build,
    "rolt-drw": rolt_drw.build,
    "gce": gce.build,
    "sce": sce.build,
    "logit-adjustment": logit_adjustment.build,
    "balanced-softmax": balanced_softmax.build,
    "elr": elr.build,
    "dividemix": dividemix.build,
    "elr-plus": elr_plus.build,
    "dynamic-loss": dynamic_loss.build,
    "sop": sop.build,
    "crt": crt.build,
}


OWED = (*Method.__annotations__, "start_epoch", "step")


def build(config: MethodConfig, parts: Parts) -> Method:
    """Build the method that a section of the config describes.

    Raises:
        ConfigError: a plugin's build returned something else.
    """
    name: str = config.model_dump()["name"]
    if name in METHODS:
        return METHODS[name](config, parts)
    found = PLUGINS.methods[name]
    method: Method = found.made_by(config, parts)
    if lacking := [part for part in OWED if not hasattr(method, part)]:
        raise ConfigError(
            f"method {name!r}: its build returned {type(method).__name__}, which has no "
            f"{', '.join(lacking)}; allowed is what curvetune.methods.Method says; mend it in "
            f"{found.ref}"
        )
    return method
