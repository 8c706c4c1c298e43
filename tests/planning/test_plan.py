from typing import Any

import pytest

from curvetune.config import CellConfig
from curvetune.errors import ConfigError
from curvetune.planning.options import parse_launch, parse_time
from curvetune.planning.plan import Plan, build_plan
from curvetune.planning.resources import LaunchOptions, Slots, ask, cpus_for_data, fit_slots
from curvetune.planning.space import Space

DIGEST = "d" * 64


def curvenet(**options: Any) -> CellConfig:
    seed = options.pop("seed", 0)
    return CellConfig.model_validate({"method": {"name": "curvenet", **options}, "seed": seed})


def plan_of(
    *cells: CellConfig, done: tuple[CellConfig, ...] = (), stored: tuple[str, ...] = ()
) -> Plan:
    done_ids = {cell.cell_id(DIGEST) for cell in done}
    return build_plan(
        Space("trial", cells),
        DIGEST,
        is_done=done_ids.__contains__,
        has_probe=set(stored).__contains__,
    )


def test_four_values_of_skip_layers_need_one_probe() -> None:
    plan = plan_of(*(curvenet(skip_layers=sl) for sl in range(4)))
    assert plan.counts() == {
        "cells_total": 4,
        "cells_done": 0,
        "cells_to_run": 4,
        "cells_cached": 0,
        "probes_total": 1,
        "probes_stored": 0,
        "probes_to_run": 1,
    }
    (probe,) = plan.probes
    assert [cell.config.method.skip_layers for cell in probe.cells] == [0, 1, 2, 3]


def test_cells_that_are_done_are_not_left() -> None:
    first, second = curvenet(seed=0), curvenet(seed=1)
    plan = plan_of(first, second, done=(first,))
    assert [cell.config for cell in plan.left] == [second]
    assert [probe.state for probe in plan.probes] == ["not needed", "to run"]


def test_stored_probes_are_told_apart_from_those_to_run() -> None:
    first, second = curvenet(seed=0), curvenet(seed=1)
    stored = first.probe_id(DIGEST)
    assert stored is not None
    plan = plan_of(first, second, stored=(stored,))
    assert [probe.state for probe in plan.probes] == ["stored", "to run"]
    assert plan.stored == {stored}


def test_the_storage_is_not_asked_for_a_probe_that_nobody_reads_any_more() -> None:
    cell = curvenet()

    asked: list[str] = []

    def has_probe(probe_id: str) -> bool:
        asked.append(probe_id)
        return False

    build_plan(Space("trial", (cell,)), DIGEST, is_done=lambda _: True, has_probe=has_probe)
    assert asked == []


def test_two_configs_with_one_identity_are_one_cell() -> None:
    cells = [
        CellConfig.model_validate({"bias": {"noise": kind, "noise_rate": 0.0}})
        for kind in ("flip", "uniform")
    ]
    assert len(plan_of(*cells).cells) == 1


def test_a_method_that_reads_no_curves_needs_no_probe() -> None:
    plan = plan_of(CellConfig())
    assert plan.probes == ()
    assert plan.cells[0].probe_id is None


def test_json_names_every_cell_and_its_probe() -> None:
    cell = curvenet()
    result = plan_of(cell).to_json()
    assert result["schema_version"] == 1
    assert result["cells"][0]["cell_id"] == cell.cell_id(DIGEST)
    assert result["cells"][0]["probe_id"] == cell.probe_id(DIGEST)
    assert CellConfig.model_validate(result["cells"][0]["config"]) == cell
    assert result["probes"] == [
        {"probe_id": cell.probe_id(DIGEST), "state": "to run", "cells": [cell.cell_id(DIGEST)]}
    ]


BOX = {"CPU": 8.0, "GPU": 8.0}


@pytest.mark.parametrize(
    ("nodes", "options", "slots"),
    [
        ([{"CPU": 2.0}], LaunchOptions(), Slots(1, 0, 2)),
        ([BOX], LaunchOptions(), Slots(1, 1, 8)),
        ([BOX, BOX], LaunchOptions(), Slots(1, 1, 16)),
        ([{"CPU": 2.0, "GPU": 4.0}], LaunchOptions(), Slots(0.5, 1, 4)),
        ([BOX], LaunchOptions(gpus_per_trial=0.5), Slots(0.5, 0.5, 16)),
        ([BOX], LaunchOptions(gpus_per_trial=1 / 3), Slots(0.33, 1 / 3, 24)),
        ([BOX], LaunchOptions(gpus_per_trial=0), Slots(1, 0, 8)),
        ([{"CPU": 3.0, "GPU": 3.0}] * 2, LaunchOptions(gpus_per_trial=2), Slots(1, 2, 2)),
        ([BOX], LaunchOptions(cpus_per_trial=4), Slots(4, 1, 2)),
        ([BOX], LaunchOptions(max_concurrent=3), Slots(1, 1, 3)),
        ([{"CPU": 2.0}, BOX], LaunchOptions(), Slots(1, 1, 8)),
        ([{"CPU": 2.0}], LaunchOptions(data_cpus=1), Slots(1, 0, 1)),
        ([BOX], LaunchOptions(data_cpus=4), Slots(0.5, 1, 8)),
        ([BOX, {"CPU": 4.0}], LaunchOptions(data_cpus=4), Slots(1, 1, 8)),
        ([BOX, BOX], LaunchOptions(gpus_per_trial=0, data_cpus=9), Slots(1, 0, 7)),
    ],
)
def test_slots_are_what_the_cluster_has_room_for(
    nodes: list[dict[str, float]], options: LaunchOptions, slots: Slots
) -> None:
    assert fit_slots(nodes, options) == slots


@pytest.mark.parametrize(
    ("nodes", "options", "cpus"),
    [
        ([BOX], LaunchOptions(), 0),  # each trial decodes for itself
        ([BOX, {"CPU": 16.0}], LaunchOptions(), 2),  # for each of 8 trials
        ([BOX, {"CPU": 16.0}], LaunchOptions(data_cpus=0), 0),
        ([{"CPU": 4.0}], LaunchOptions(data_cpus=3), 3),
        ([BOX], LaunchOptions(data_cpus=4), 1),  # fewer than trials: they take turns
    ],
)
def test_images_are_decoded_by_cpus_that_no_trial_has(
    nodes: list[dict[str, float]], options: LaunchOptions, cpus: float
) -> None:
    assert cpus_for_data(nodes, options, fit_slots(nodes, options)) == cpus


def test_cpus_for_images_that_leave_none_for_a_trial_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"0 CPUs.*with 2 CPUs kept for images \(--data-cpus\)"):
        fit_slots([{"CPU": 2.0}], LaunchOptions(data_cpus=2))


def test_a_trial_that_fits_nowhere_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"2 GPUs.*no node has that many: 8 CPUs, 1 GPUs"):
        fit_slots([{"CPU": 8.0, "GPU": 1.0}], LaunchOptions(gpus_per_trial=2))


def test_cells_run_on_the_kind_of_gpu_that_is_asked_for_alone() -> None:
    nodes = [{**BOX, "accelerator_type:H100": 1.0}, {**BOX, "accelerator_type:A100": 1.0}]
    assert fit_slots(nodes, LaunchOptions(accelerator="H100")) == Slots(1, 1, 8, "H100")
    with pytest.raises(ConfigError, match=r"of the kind L4 .*8 CPUs, 8 GPUs \(H100\); 8 CPUs"):
        fit_slots(nodes, LaunchOptions(accelerator="L4"))


def test_a_kind_of_gpu_asks_for_a_gpu_even_where_none_is_yet() -> None:
    assert ask([{"CPU": 8.0}], LaunchOptions(accelerator="H100")) == Slots(1, 1, 0, "H100")


@pytest.mark.parametrize(
    ("text", "seconds"), [("0", 0), ("90s", 90), ("45", 45), ("30m", 1800), ("1.5h", 5400)]
)
def test_a_time_has_a_unit(text: str, seconds: float) -> None:
    assert parse_time("--wait", text) == seconds


@pytest.mark.parametrize("text", ["soon", "-1m", "5 weeks", "", "nan"])
def test_a_time_that_is_none_is_refused_with_examples(text: str) -> None:
    with pytest.raises(ConfigError, match=r"--wait .*allowed are a number and a unit.*30m"):
        parse_time("--wait", text)


def test_a_kind_of_gpu_for_cells_without_one_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"--accelerator H100 with --gpus-per-trial 0"):
        parse_launch(None, "0", None, None, 5, 60.0, accelerator="H100")
