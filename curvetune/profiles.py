"""Profiles: named changes to a cell, between the space's own values and `--set`.

    release  the details of the paper's released code: the config's defaults
    paper    the paper's text where it differs: plain-SGD virtual step (Eq. 11), the embedding
             added once, two layers after the sum, no floor, no initial bias, no dropped last
             epoch, CurveNet frozen (but evaluated) after the first drop
    fast     release with schedules of half the length and batch 128 in the cyclic phase
    smoke    does it run: 3 + 3 epochs, at most 2,000 training and 2,000 test samples

What a profile sets is part of a cell's identity, so results of two profiles never mix.
"""

from collections.abc import Callable

from curvetune.config import AllocateConfig, CellConfig, CurveNetConfig, ProbeConfig, Section
from curvetune.errors import ConfigError, nearest

SMOKE_EPOCHS = 3
SMOKE_SAMPLES = 2000


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
    """Return `cell` with the method's published recipe, if it asks for that (`recipe: native`)."""
    method = cell.method
    if method.recipe == "default":
        return cell
    assert method.native is not None, "the config refuses a method without one"
    options = method.model_copy(update=method.native_options)
    return cell.model_copy(update={"allocate": method.native, "method": options})


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
    cell = _shortened(cell, max(2, cell.probe.epochs // 2), max(1, cell.allocate.epochs // 2))
    probe = cell.probe.model_copy(update={"cyclic_batch_size": 128})
    return cell.model_copy(update={"probe": probe})


def _smoke(cell: CellConfig) -> CellConfig:
    limits = {
        key: min(SMOKE_SAMPLES, getattr(cell.data, key) or SMOKE_SAMPLES)
        for key in ("train_limit", "test_limit")
    }
    data = cell.data.model_copy(update=limits)
    return _shortened(cell.model_copy(update={"data": data}), SMOKE_EPOCHS, SMOKE_EPOCHS)


def _shortened(cell: CellConfig, probe_epochs: int, allocate_epochs: int) -> CellConfig:
    """Return `cell` with shorter schedules; everything counted in epochs shrinks with them."""
    part = probe_epochs / cell.probe.epochs
    update: dict[str, Section] = {
        "probe": _short_probe(cell.probe, probe_epochs),
        "allocate": _short_allocate(cell.allocate, allocate_epochs),
    }
    if isinstance(cell.method, CurveNetConfig):
        longest = probe_epochs - 1 - cell.method.drop_last
        removed = min(round(cell.method.removed_losses * part), longest)
        update["method"] = cell.method.model_copy(update={"removed_losses": removed})
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


def _short_allocate(allocate: AllocateConfig, epochs: int) -> AllocateConfig:
    part = epochs / allocate.epochs
    milestones = sorted({max(1, round(m * part)) for m in allocate.milestones})
    return allocate.model_copy(
        update={
            "epochs": epochs,
            "warmup": min(round(allocate.warmup * part), epochs),
            "milestones": tuple(milestones),
        }
    )


PROFILES: dict[str, Callable[[CellConfig], CellConfig]] = {
    "release": lambda cell: cell,
    "paper": _paper,
    "fast": _fast,
    "smoke": _smoke,
}
