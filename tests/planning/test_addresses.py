"""Which addresses the exact loss of probes changed, and that older ones can still be reached.

`ids_before_loss_form.json` has, for each space and method of then (commit b4b528b), how many cells
there were, and a fingerprint of their addresses and of their probes', in order.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from curvetune.config import METHOD_SECTIONS, CellConfig, restored
from curvetune.config.fingerprint import fingerprint
from curvetune.errors import ConfigError
from curvetune.grids.catalog import Catalog
from curvetune.grids.identity import deciding_keys, differing_keys
from curvetune.offline.lines import read_lines
from curvetune.planning.space import load_space
from curvetune.store.files import write_json

DIGEST = "0" * 64
BEFORE: dict[str, Any] = json.loads(
    (Path(__file__).parent / "ids_before_loss_form.json").read_text()
)


def addresses(space: str, **fixed: str) -> dict[str, Any]:
    """Return what the file has of a space, of this code."""
    found: dict[str, list[Any]] = {}
    for cell in load_space(space, fixed=fixed).cells:
        ids = (cell.cell_id(DIGEST), cell.probe_id(DIGEST))
        found.setdefault(cell.method.name, []).append(ids)
    return {
        name: {
            "cells": len(ids),
            "cell_ids": fingerprint({"ids": [cell_id for cell_id, _ in ids]}),
            "probe_ids": fingerprint({"ids": [probe_id for _, probe_id in ids]}),
        }
        for name, ids in found.items()
    }


def changed(space: str, **fixed: str) -> set[str]:
    now = addresses(space, **fixed)
    return {name for name, ids in BEFORE[space].items() if now[name] != ids}


@pytest.mark.parametrize("space", BEFORE)
def test_of_all_spaces_only_the_cells_of_curvenet_have_another_address(space: str) -> None:
    assert changed(space) == {"curvenet"}


@pytest.mark.parametrize("space", BEFORE)
def test_with_the_loss_of_before_every_address_is_that_of_before(space: str) -> None:
    assert changed(space, loss_form="float32") == set()


@pytest.mark.parametrize("name", METHOD_SECTIONS)
def test_the_form_of_the_loss_enters_only_where_the_cells_own_probe_is_read(name: str) -> None:
    def cell(form: str, **options: Any) -> CellConfig:
        method = {"name": name, **options}
        return CellConfig.model_validate({"probe": {"loss_form": form}, "method": method})

    def moves(**options: Any) -> bool:
        exact, before = cell("exact", **options), cell("float32", **options)
        probes = {exact.probe_id(DIGEST), before.probe_id(DIGEST)}
        assert (len(probes) == 2) == (exact.cell_id(DIGEST) != before.cell_id(DIGEST))
        return len(probes) == 2

    assert moves() == (name == "curvenet")
    if METHOD_SECTIONS[name].needs_noise_rate and name != "o2u-net":  # which has its own probe
        assert moves(noise_rate_estimate="auto")


def test_curves_of_margins_have_addresses_of_their_own() -> None:
    cells = [
        CellConfig.model_validate({"method": {"name": "curvenet", **options}})
        for options in ({}, {"curve": "loss"}, {"curve": "margin"}, {"curve": "both"})
    ]
    assert len({cell.cell_id(DIGEST) for cell in cells}) == 3
    assert len({cell.probe_id(DIGEST) for cell in cells}) == 1


def test_each_precision_has_addresses_of_its_own_and_float32_those_of_before() -> None:
    def ids(**model: str) -> tuple[str, str]:
        cell = CellConfig.model_validate({"method": {"name": "curvenet"}, "model": model})
        return cell.probe_id(DIGEST), cell.cell_id(DIGEST)

    assert ids(precision="float32") == ids()
    assert len({ids(precision=p) for p in ("float32", "bfloat16", "bfloat16-onednn")}) == 3


def test_a_finite_difference_is_refused_where_rounding_would_swallow_it() -> None:
    fixed = {"meta_gradient": "finite_difference", "precision": "bfloat16-onednn"}
    with pytest.raises(ConfigError, match="allowed with it is meta_gradient=exact"):
        load_space("digits", methods=["curvenet"], fixed=fixed)


@pytest.mark.parametrize("curve", ["margin", "both"])
def test_margins_are_not_asked_of_a_probe_that_may_be_too_old_to_have_them(curve: str) -> None:
    with pytest.raises(ConfigError, match=r"allowed is probe\.loss_form=exact") as told:
        load_space("digits", methods=["curvenet"], fixed={"curve": curve, "loss_form": "float32"})
    assert f"method.curve={curve}" in str(told.value)


def stored_before(name: str = "curvenet") -> tuple[str, dict[str, Any]]:
    """Return the address of a cell of an older version, and its config as that stored it."""
    cell = CellConfig.model_validate({"probe": {"loss_form": "float32"}, "method": {"name": name}})
    config = cell.model_dump(mode="json")
    del config["probe"]["loss_form"]
    if name == "curvenet":
        del config["method"]["curve"]
    return cell.cell_id(DIGEST), config


def test_a_stored_config_without_the_form_means_the_loss_of_before(tmp_path: Path) -> None:
    cell_id, config = stored_before()
    write_json(tmp_path / "cells" / cell_id / "config.json", config | {"data_digest": DIGEST})
    grid_id = "f" * 16
    entry = {"cell_id": grid_id, "probe_id": None, "config": config}
    write_json(
        tmp_path / "grids" / "old.json",
        {"schema_version": 2, "command": "", "data_digest": DIGEST, "cells": [entry]},
    )
    for stored in (cell_id, grid_id):
        found, digest = Catalog(tmp_path).config(stored)
        assert found.cell_id(digest) == cell_id
    assert CellConfig.model_validate(config).cell_id(DIGEST) != cell_id  # what it would be now


def test_a_line_of_results_of_before_is_still_read(tmp_path: Path) -> None:
    cell_id, config = stored_before()
    line = {"schema_version": 2, "cell_id": cell_id, "config": config, "data_digest": DIGEST}
    (tmp_path / "results.jsonl").write_text(json.dumps(line | {"accuracy": 50.0}) + "\n")
    assert read_lines(tmp_path / "results.jsonl")[0]["cell_id"] == cell_id


@pytest.mark.parametrize("stored", [None, [], {}, {"probe": 3}, {"probe": None}])
def test_what_is_no_config_is_left_to_whoever_reads_it(stored: Any) -> None:
    assert restored(stored) == stored


def test_why_names_the_form_as_the_difference() -> None:
    cells = [
        CellConfig.model_validate({"probe": {"loss_form": form}, "method": {"name": "curvenet"}})
        for form in ("exact", "float32")
    ]
    now, before = (deciding_keys(cell, DIGEST) for cell in cells)
    assert differing_keys(now, before) == ["probe.loss_form"]
    assert (now["probe.loss_form"], before["probe.loss_form"]) == ("exact", "float32")
