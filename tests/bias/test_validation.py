"""`data.validation`: what is held out of training, and what that changes."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from curvetune.config import BiasConfig, CellConfig, DataConfig
from curvetune.config.load import validate
from curvetune.data.limits import train_size
from curvetune.data.source import ClassSizes
from curvetune.data.splits import Split, make_split, with_validation
from curvetune.errors import ConfigError, CorruptError, DataError

K = 5
TRAIN_Y = np.repeat(np.arange(K), 100)
NO_TEST = np.empty(0, np.int64)
BIAS = BiasConfig(imbalance=10, noise="symmetric", noise_rate=0.4)


def whole(seed: int = 0, **options: Any) -> tuple[Split, DataConfig]:
    config = DataConfig(**options)
    return make_split(TRAIN_Y, NO_TEST, config, BIAS, seed, K), config


def test_a_share_of_the_noisy_training_set_is_held_out_and_nothing_else_moves() -> None:
    full, _ = whole()
    config = DataConfig(validation=0.1)
    split = with_validation(full, config, TRAIN_Y, 0)
    assert split.validation is not None
    assert split.validation_y is not None
    assert len(split.validation) == round(0.1 * len(full.train))
    both = np.concatenate([split.train, split.validation])
    assert sorted(both) == sorted(full.train)
    given = dict(zip(full.train, full.y, strict=True))
    assert [given[k] for k in split.validation] == [*split.validation_y]
    assert [given[k] for k in split.train] == [*split.y]
    truth = dict(zip(full.train, full.y_true, strict=True))
    assert [truth[k] for k in split.train] == [*split.y_true]
    assert (split.validation_y != TRAIN_Y[split.validation]).any()  # noisy, as it is
    assert np.array_equal(split.meta, full.meta)
    assert len(split.test) == 0


def test_each_class_is_held_out_by_its_share_of_given_labels() -> None:
    full, config = whole(validation=0.25)
    split = with_validation(full, config, TRAIN_Y, 0)
    assert split.validation_y is not None
    held = np.bincount(split.validation_y, minlength=K)
    of = np.bincount(full.y, minlength=K)
    assert np.all(np.abs(held - 0.25 * of) <= 1)


def test_half_of_the_meta_set_is_held_out_clean_and_methods_have_the_other_half() -> None:
    full, config = whole(validation="clean", meta_per_class=7)
    split = with_validation(full, config, TRAIN_Y, 0)
    assert split.validation is not None
    assert split.validation_y is not None
    assert np.bincount(split.validation_y).tolist() == [3] * K
    assert np.bincount(TRAIN_Y[split.meta]).tolist() == [4] * K == [config.clean_per_class] * K
    assert np.array_equal(split.validation_y, TRAIN_Y[split.validation])
    assert not set(split.validation) & {*split.meta, *split.train}
    assert np.array_equal(split.y, full.y)


def test_seeds_hold_out_other_samples() -> None:
    one, two = (with_validation(*whole(s, validation=0.1), TRAIN_Y, s) for s in (0, 1))
    again = with_validation(*whole(0, validation=0.1), TRAIN_Y, 0)
    assert one.validation is not None
    assert again.validation is not None
    assert not np.array_equal(one.validation, two.validation)
    assert np.array_equal(one.validation, again.validation)


def test_a_split_is_stored_and_read_with_and_without_what_is_held_out() -> None:
    full, config = whole(validation=0.1)
    assert set(full.arrays()) == {"meta", "train", "y", "y_true", "test"}
    split = with_validation(full, config, TRAIN_Y, 0)
    read = Split.from_arrays(split.arrays())
    for field in dataclasses.fields(Split):
        assert np.array_equal(getattr(read, field.name), getattr(split, field.name))
    lacking = {k: v for k, v in split.arrays().items() if k != "validation_y"}
    with pytest.raises(CorruptError, match="no split"):
        Split.from_arrays(lacking)


def test_the_size_that_is_planned_is_that_of_the_split() -> None:
    for share in (0.1, 0.33, "clean"):
        config = DataConfig(validation=share, meta_per_class=10)
        full = make_split(TRAIN_Y, NO_TEST, config, BIAS, 0, K)
        split = with_validation(full, config, TRAIN_Y, 0)
        sizes = ClassSizes.of(TRAIN_Y, NO_TEST, K)
        assert train_size(sizes, config, BIAS) == len(split.train)


def test_a_share_that_holds_out_nothing_is_refused() -> None:
    full, config = whole(validation=0.1, train_limit=4)
    with pytest.raises(DataError, match=r"data\.validation=0\.1 holds out 0 of 4"):
        with_validation(full, config, TRAIN_Y, 0)


def test_the_option_moves_addresses_only_where_it_is_set() -> None:
    def cell(**options: Any) -> CellConfig:
        raw = {"data": {"name": "digits", **options}, "method": {"name": "curvenet"}}
        return validate(raw, CellConfig, "a test")

    plain = cell()
    assert "validation" not in plain.data.identity()
    assert "validation" not in plain.model_dump()["data"]
    assert cell(validation=None).cell_id("d") == plain.cell_id("d")
    others = [plain, cell(validation=0.1), cell(validation=0.2), cell(validation="clean")]
    for address in ("split_id", "probe_id", "cell_id"):
        assert len({getattr(one, address)("d") for one in others}) == 4


@pytest.mark.parametrize("value", [0, 0.6, -0.1, "test"])
def test_a_share_is_above_0_and_at_most_a_half(value: Any) -> None:
    with pytest.raises(ConfigError, match="validation"):
        validate({"data": {"validation": value}}, CellConfig, "a test")
