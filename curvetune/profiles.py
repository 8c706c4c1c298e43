"""Profiles: named changes to a cell, between the space's own values and `--set`.

    release  the details of the paper's released code: the config's defaults
    paper    the paper's text where it differs: plain-SGD virtual step (Eq. 11), the embedding
             added once, two layers after the sum, no floor, no initial bias, no dropped last
             epoch, CurveNet frozen (but evaluated) after the first drop
    fast     release with schedules of half the length, and batch 128 in the cyclic phases with the
             learning rate scaled alike: such curves rank the samples as those of batch 16 do
             (docs/measurements.md)
    smoke    does it run: 3 + 3 epochs, at most 2,000 training and 2,000 test samples

What a profile sets is part of a cell's identity, so results of two profiles never mix.
"""

from collections.abc import Callable
from typing import TypeVar

from curvetune.config import (
    AllocateConfig,
    CellConfig,
    CurveNetConfig,
    O2UNetConfig,
    O2UProbeConfig,
    ProbeConfig,
    Section,
)
from curvetune.errors import ConfigError, nearest

SMOKE_EPOCHS = 3
SMOKE_SAMPLES = 2000
FAST_CYCLIC_BATCH = 128
CyclicT = TypeVar("CyclicT", ProbeConfig, O2UProbeConfig)


def apply_profile(cell: CellConfig, name: str) -> CellConfig:
    """Return `cell` as profile `name` changes it.

    Raises:
        ConfigError: there is no such profile.
    """
    if name not in PROFILES:
        raise ConfigError(
            f"--profile: unknown profile {name!r}{nearest(name, PROFILES)}; "
            f"allowed are {', '.join(PROFILES)}"
        )
    changed = PROFILES[name](cell)
    return CellConfig.model_validate(changed.model_dump())


def native_recipe(cell: CellConfig) -> CellConfig:
    """Return `cell` with the method's published recipe, if it asks for that (`recipe: native`).

    An option that the space gives the method itself stays.
    """
    method = cell.method
    if method.recipe == "default":
        return cell
    assert method.native is not None, "the config refuses a method without one"
    own = method.model_fields_set
    options = {key: value for key, value in method.native_options.items() if key not in own}
    update = {"allocate": method.native, "method": method.model_copy(update=options)}
    return cell.model_copy(update=update)


def _paper(cell: CellConfig) -> CellConfig:
    method = cell.method
    if isinstance(method, CurveNetConfig):
        method = method.model_copy(
            update={
                "virtual_step": "sgd",
                "embedding_scale": 1.0,
                "head_layers": 2,
                "floor": 0.0,
                "last_bias": 0.0,
                "drop_last": False,
                "late_weights": "frozen",
            }
        )
    return cell.model_copy(update={"method": method})


def _fast(cell: CellConfig) -> CellConfig:
    cell = _shortened(cell, lambda epochs: epochs // 2)
    update: dict[str, Section] = {"probe": _larger_batches(cell.probe)}
    if isinstance(cell.method, O2UNetConfig):
        own = _larger_batches(cell.method.o2u_probe)
        update["method"] = cell.method.model_copy(update={"o2u_probe": own})
    return cell.model_copy(update=update)


def _larger_batches(probe: CyclicT) -> CyclicT:
    """Return a probe with larger batches in its cyclic phase, and rates that grow as they do."""
    factor = FAST_CYCLIC_BATCH / probe.cyclic_batch_size
    return probe.model_copy(
        update={
            "cyclic_batch_size": FAST_CYCLIC_BATCH,
            "cyclic_high": probe.cyclic_high * factor,
            "cyclic_low": probe.cyclic_low * factor,
        }
    )


def _smoke(cell: CellConfig) -> CellConfig:
    limits = {
        key: min(SMOKE_SAMPLES, getattr(cell.data, key) or SMOKE_SAMPLES)
        for key in ("train_limit", "test_limit")
    }
    data = cell.data.model_copy(update=limits)
    return _shortened(cell.model_copy(update={"data": data}), lambda _: SMOKE_EPOCHS)


def _shortened(cell: CellConfig, shorter: Callable[[int], int]) -> CellConfig:
    """Return `cell` with shorter schedules; everything counted in epochs shrinks with them."""
    probe_epochs = max(2, shorter(cell.probe.epochs))
    update: dict[str, Section] = {
        "probe": _short_probe(cell.probe, probe_epochs),
        "allocate": _short_allocate(cell.allocate, max(1, shorter(cell.allocate.epochs))),
    }
    method = cell.method
    if isinstance(method, CurveNetConfig):
        longest = probe_epochs - 1 - method.drop_last
        removed = min(round(method.removed_losses * probe_epochs / cell.probe.epochs), longest)
        update["method"] = method.model_copy(update={"removed_losses": removed})
    if isinstance(method, O2UNetConfig):
        own = _short_o2u_probe(method.o2u_probe, max(2, shorter(method.o2u_probe.epochs)))
        update["method"] = method.model_copy(update={"o2u_probe": own})
    return cell.model_copy(update=update)


def _short_probe(probe: ProbeConfig, epochs: int) -> ProbeConfig:
    part = epochs / probe.epochs
    return probe.model_copy(
        update={
            "epochs": epochs,
            "cyclic_start": round(probe.cyclic_start * part),
            "half_period": max(1, round(probe.half_period * part)),
        }
    )


def _short_o2u_probe(probe: O2UProbeConfig, epochs: int) -> O2UProbeConfig:
    part = epochs / probe.epochs
    return probe.model_copy(
        update={
            "epochs": epochs,
            "cyclic_start": min(round(probe.cyclic_start * part), epochs - 1),
            "cycle": max(1, round(probe.cycle * part)),
        }
    )


def _short_allocate(allocate: AllocateConfig, epochs: int) -> AllocateConfig:
    part = epochs / allocate.epochs
    each = isinstance(allocate.gamma, tuple)
    gammas = allocate.gamma if isinstance(allocate.gamma, tuple) else (allocate.gamma,)
    factors: dict[int, float] = {}  # of each milestone; those that fall together multiply
    for k, milestone in enumerate(allocate.milestones):
        short = max(1, round(milestone * part))
        factors[short] = factors.get(short, 1.0) * gammas[k] if each else gammas[0]
    return allocate.model_copy(
        update={
            "epochs": epochs,
            "warmup": min(round(allocate.warmup * part), epochs),
            "milestones": tuple(factors),
            "gamma": tuple(factors.values()) if each else allocate.gamma,
        }
    )


PROFILES: dict[str, Callable[[CellConfig], CellConfig]] = {
    "release": lambda cell: cell,
    "paper": _paper,
    "fast": _fast,
    "smoke": _smoke,
}
