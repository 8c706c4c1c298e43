"""Splits of data that comes with a clean set, or that knows some true labels itself."""

from dataclasses import replace

import numpy as np
import pytest

from curvetune.config import BiasConfig, DataConfig
from curvetune.data.limits import train_size
from curvetune.data.source import ClassSizes, Dataset, Images
from curvetune.data.splits import Split, make_split
from curvetune.data.tables.table import ANOTHER, UNKNOWN
from curvetune.errors import DataError
from curvetune.training.split import verified_flags

K = 3
TRAIN_Y = np.random.default_rng(0).permutation(np.repeat(np.arange(K), [40, 30, 20]))
TEST_Y = np.repeat(np.arange(K), 4)
CLEAN = np.sort(np.random.default_rng(1).permutation(90)[:45])
KNOWN = TRAIN_Y.copy()
KNOWN[::3] = UNKNOWN
KNOWN[1::9] = ANOTHER
KNOWN[4::9] = (TRAIN_Y[4::9] + 1) % K

FEWEST = int(np.bincount(TRAIN_Y[CLEAN]).min())


def split(
    per_class: int = 4, bias: BiasConfig | None = None, *, clean: bool = True, seed: int = 0
) -> Split:
    return make_split(
        TRAIN_Y,
        TEST_Y,
        DataConfig(name="list", meta_per_class=per_class),
        bias or BiasConfig(noise="real"),
        seed,
        K,
        clean=CLEAN if clean else None,
        known=KNOWN,
    )


@pytest.mark.parametrize("seed", range(4))
def test_the_meta_set_is_of_the_clean_set_and_none_of_that_is_trained_on(seed: int) -> None:
    made = split(seed=seed)
    assert np.bincount(TRAIN_Y[made.meta]).tolist() == [4] * K
    assert set(made.meta.tolist()) < set(CLEAN.tolist())
    assert sorted(made.train.tolist()) == sorted({*range(90)} - {*CLEAN.tolist()})


def test_another_seed_draws_other_meta_images_and_a_larger_set_has_the_smaller_one() -> None:
    assert not np.array_equal(split(seed=0).meta, split(seed=1).meta)
    assert set(split(3).meta.tolist()) < set(split(FEWEST).meta.tolist())


def test_a_clean_set_that_is_too_small_is_told_before_anything_is_loaded() -> None:
    said = rf"class \d has {FEWEST} images in the clean set .*allowed is at most {FEWEST}"
    with pytest.raises(DataError, match=said):
        split(FEWEST + 1)
    sizes = ClassSizes.of(TRAIN_Y, TEST_Y, K, CLEAN)
    config = DataConfig(name="list", meta_per_class=FEWEST + 1)
    with pytest.raises(DataError, match=said):
        train_size(sizes, config, BiasConfig())


@pytest.mark.parametrize("imbalance", [1.0, 3.0])
def test_the_size_of_a_plan_is_that_of_the_split(imbalance: float) -> None:
    bias = BiasConfig(imbalance=imbalance)
    sizes = ClassSizes.of(TRAIN_Y, TEST_Y, K, CLEAN)
    config = DataConfig(name="list", meta_per_class=4)
    assert train_size(sizes, config, bias) == len(split(4, bias).train)


def test_what_the_data_knows_is_judged_and_nothing_else() -> None:
    made = split(clean=False, per_class=0)
    assert made.y.tolist() == TRAIN_Y.tolist()
    assert made.y_true.tolist() == KNOWN.tolist()
    assert made.known.tolist() == (KNOWN != UNKNOWN).tolist()
    by_hand = [t == ANOTHER or (t >= 0 and t != y) for t, y in zip(KNOWN, TRAIN_Y, strict=True)]
    assert made.wrong.tolist() == by_hand
    assert made.believed.min() >= 0
    assert made.believed[made.y_true < 0].tolist() == made.y[made.y_true < 0].tolist()


def test_of_labels_that_are_changed_here_only_the_true_class_stays_known() -> None:
    made = split(0, BiasConfig(noise="symmetric", noise_rate=0.6), clean=False)
    changed = made.y != TRAIN_Y[made.train]
    before = KNOWN[made.train]
    assert changed.any()
    assert set(made.y_true[changed & (before == ANOTHER)].tolist()) == {UNKNOWN}
    kept = ~(changed & (before == ANOTHER))
    assert made.y_true[kept].tolist() == before[kept].tolist()


def test_a_corrected_label_does_not_change_what_the_data_knows() -> None:
    made = split(0, clean=False)
    right, another, unknown = (
        int(np.flatnonzero(where)[0])
        for where in (made.y_true == made.y, made.y_true == ANOTHER, made.y_true == UNKNOWN)
    )
    corrections = {int(made.train[k]): int(made.y[k] + 1) % K for k in (right, another, unknown)}
    after = made.relabelled(corrections, truth_is_added=True)
    assert after.wrong[right]
    assert not after.known[another]
    assert not after.known[unknown]


def test_a_flag_is_of_the_label_that_the_data_has() -> None:
    flags = np.full(90, UNKNOWN, np.int8)
    flags[::2], flags[1::4] = 1, 0
    images = Images(np.zeros((90, 1, 8, 8), np.uint8), TRAIN_Y)
    facts = {"mean": (0.0,), "std": (1.0,), "pad": 0, "flip": False, "class_names": ("a", "b", "c")}
    dataset = Dataset("list", images, images, verified=flags, **facts)  # type: ignore[arg-type]
    real = split()
    found = verified_flags(real, dataset)
    assert found is not None
    assert found.tolist() == flags[real.train].tolist()
    noisy = split(bias=BiasConfig(noise="symmetric", noise_rate=0.5))
    changed = noisy.y != TRAIN_Y[noisy.train]
    found = verified_flags(noisy, dataset)
    assert found is not None
    assert set(found[changed].tolist()) == {UNKNOWN}
    assert found[~changed].tolist() == flags[noisy.train][~changed].tolist()
    flags[:] = UNKNOWN
    assert verified_flags(real, dataset) is None
    assert verified_flags(real, replace(dataset, verified=None)) is None


def test_a_split_keeps_what_is_known_in_its_file() -> None:
    made = split()
    again = Split.from_arrays(made.arrays())
    assert again.wrong.tolist() == made.wrong.tolist()
