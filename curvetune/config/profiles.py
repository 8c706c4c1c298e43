"""Profiles: named changes to a cell, between the space's own values and `--set`.

    release  the details of the paper's released code: the config's defaults
    paper    the paper's text where it differs: plain-SGD virtual step (Eq. 11), the embedding
             added once, two layers after the sum, no floor, no initial bias, no dropped last
             epoch, CurveNet frozen (but evaluated) after the first drop
    fast     cheaper, and a little less accurate (docs/performance.md): a probe cut off soon after
             its cyclic phase began, with batch 128 there and the learning rate scaled alike; half
             the final training, its rate straight down to 0 from the first drop on; an update of
             the weight net at every second step, that counts a batch later; convolutions in 16
             bits
    smoke    does it run: 3 + 3 epochs, at most 2,000 training and 2,000 test samples

What a profile sets is part of a cell's identity, so results of two profiles never mix.
"""

from collections.abc import Callable

from curvetune.config.cell import CellConfig
from curvetune.errors import ConfigError, nearest

RELEASE = "release"
SMOKE_EPOCHS = 3
SMOKE_SAMPLES = 2000
FAST_CYCLIC_BATCH = 128


def apply_profile(cell: CellConfig, name: str) -> CellConfig:
    """Return `cell` as profile `name` changes it.

    Raises:
        ConfigError: there is no such profile.
    """
    return CellConfig.model_validate(profiled(cell, name).model_dump())


def profiled(cell: CellConfig, name: str) -> CellConfig:
    """Return what profile `name` makes of `cell`, not validated; the cell itself if that is all.

    Raises:
        ConfigError: there is no such profile.
    """
    if name not in PROFILES:
        raise ConfigError(
            f"--profile: unknown profile {name!r}{nearest(name, PROFILES)}; "
            f"allowed are {', '.join(PROFILES)}"
        )
    return PROFILES[name](cell)


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
    return cell.model_copy(update={"method": cell.method.as_in_paper()})


def _fast(cell: CellConfig) -> CellConfig:
    half = _shortened(cell, lambda epochs: epochs // 2)
    probe = cell.probe.cut_short().with_cyclic_batch(FAST_CYCLIC_BATCH)
    method = half.method.with_cyclic_batch(FAST_CYCLIC_BATCH)
    return cell.model_copy(
        update={
            "model": cell.model.model_copy(update={"precision": "bfloat16"}),
            "probe": probe,
            "allocate": half.allocate.straight_down(),
            "method": method.as_fast(half.probe.epochs, probe.epochs),
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
    before, after = cell.probe.epochs, max(2, shorter(cell.probe.epochs))
    return cell.model_copy(
        update={
            "probe": cell.probe.shortened(after),
            "allocate": cell.allocate.shortened(max(1, shorter(cell.allocate.epochs))),
            "method": cell.method.shortened(before, after, shorter),
        }
    )


PROFILES: dict[str, Callable[[CellConfig], CellConfig]] = {
    RELEASE: lambda cell: cell,
    "paper": _paper,
    "fast": _fast,
    "smoke": _smoke,
}
