"""Cells that share sections are those which are validated and addressed one by one."""

import itertools
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from curvetune.config import CellConfig, ForeignMethodConfig, read_config
from curvetune.config.addresses import Addresses
from curvetune.config.fingerprint import canonical, fingerprint, together
from curvetune.config.shared import PerSection, SharedSections
from curvetune.errors import ConfigError
from curvetune.planning.space import load_space

DIGEST = "d" * 64
SPACES = ("digits_all", "cifar10", "cifar10n", "folder", "ablate-skip-layers")
WAYS: tuple[dict[str, Any], ...] = (
    {"methods": ["all"], "seeds": [0, 2**40]},
    {"profile": "smoke"},
    {"profile": "fast", "fixed": {"imbalance": "[1, 7.0]", "removed_losses": "[0, 2]"}},
    {"profile": "paper", "fixed": {"probe": "{epochs: 40}", "residence": "streamed"}},
)


def cells_of(space: str, way: dict[str, Any]) -> Iterable[CellConfig]:
    try:
        cells = list(load_space(space, **way).cells)
    except ConfigError:  # a way that is none for this space
        return ()
    return random.Random(0).sample(cells, min(len(cells), 60))


@pytest.mark.parametrize("space", SPACES)
def test_a_space_has_cells_as_they_are_validated_from_scratch(space: str) -> None:
    found = [cell for way in WAYS for cell in cells_of(space, way)]
    assert len(found) > 30
    for cell in found:
        assert CellConfig.model_validate(cell.model_dump()) == cell
        assert CellConfig.model_validate_json(cell.model_dump_json()) == cell


@pytest.mark.parametrize("space", SPACES)
def test_addresses_of_many_cells_are_fingerprints_of_what_each_says(space: str) -> None:
    addresses = Addresses(DIGEST)
    for way in WAYS:
        for cell in cells_of(space, way):
            if cell.bias.is_human:
                with pytest.raises(ConfigError, match="was not read"):
                    addresses.cell_id(cell)
                bias = cell.bias.model_copy(update={"labels_digest": "0" * 16})
                cell = cell.model_copy(update={"bias": bias})
            alone = CellConfig.model_validate(cell.model_dump())
            assert addresses.cell_id(cell) == fingerprint(alone.cell_identity(DIGEST))
            probe = fingerprint(alone.probe_identity(DIGEST)) if alone.probe_recipe else None
            assert addresses.probe_id(cell) == probe


def test_what_is_put_together_is_canonical_json() -> None:
    identity = {"b": {"z": 1, "a": [0.1, "é", None, True]}, "a": -0.0, "A": {}}
    parts = {key: canonical(value) for key, value in identity.items()}
    assert together(parts) == canonical(identity)


SECTIONS: dict[str, list[Any]] = {
    "bias": [
        *({"imbalance": value} for value in (1, 1.0, True, "1", 0.5, None)),
        {"noise": "real"},
        {"noise": "human-worse"},
        {"noise_rate": 0.4, "noise": "flip"},
        {},
        "flip",
    ],
    "data": [{"name": "cifar10"}, {"name": "digits", "meta_per_class": 0}, {"nonsense": 1}],
    "method": [
        *({"name": name} for name in ("curvenet", "co-teaching", "cross-entropy", "none")),
        {"name": "focal", "recipe": "native"},
        {"name": "curvenet", "removed_losses": 500},
    ],
    "probe": [{}, {"epochs": 3, "cyclic_start": 2}],
}


def alone(values: dict[str, Any]) -> CellConfig | None:
    try:
        return CellConfig.model_validate(values)
    except ValidationError:
        return None


def test_sections_in_any_order_of_cells_are_valid_together_as_they_are_alone() -> None:
    every = [
        dict(zip(SECTIONS, values, strict=True)) for values in itertools.product(*SECTIONS.values())
    ]
    random.Random(0).shuffle(every)
    shared, numbers = SharedSections(), {True: 0, False: 0}
    for values in every:
        expected = alone(values)
        numbers[expected is None] += 1
        if expected is None:
            with pytest.raises(ValidationError):
                shared.cell(values)
            continue
        found = shared.cell(values)
        assert found == expected
        assert found.model_dump_json() == expected.model_dump_json()
        assert found.method.model_fields_set == expected.method.model_fields_set
    assert min(numbers.values()) > 50


def test_a_complaint_shows_values_as_they_are_written(tmp_path: Path) -> None:
    space = tmp_path / "grid.yaml"
    space.write_text(
        "base: {data: {name: digits}, bias: {imbalance: 3}}\n"
        "grid: {seed: [0, -1], method: [{name: curvenet}]}\n"
    )
    with pytest.raises(ConfigError, match=r"seed: Input should be greater .* got -1"):
        load_space(str(space))


def test_a_stored_cell_of_a_plugin_that_is_not_here_is_read_as_such() -> None:
    plugin = {"name": "mine", "version": "1", "digest": "0" * 16}
    values = CellConfig().model_dump() | {"method": {"name": "mine", "plugin": plugin, "x": 3}}
    shared = SharedSections()
    for _ in range(2):
        found = shared.stored(values)
        assert isinstance(found.method, ForeignMethodConfig)
        assert found == read_config(values)
    with pytest.raises(ValidationError):
        shared.stored({"method": {"name": "mine"}})


def test_something_is_made_of_a_section_once_for_each_name() -> None:
    made: list[str] = []
    known, one, other = PerSection(), CellConfig(seed=1), CellConfig(seed=1)

    def make() -> int:
        made.append("x")
        return len(made)

    assert known.once(make, "a", one) == known.once(make, "a", one) == 1
    assert known.once(make, "b", one) == 2
    assert known.once(make, "a", other) == 3  # equal, but another: it may be known by another name
    assert known.once(make, "a", one, other) == 4
