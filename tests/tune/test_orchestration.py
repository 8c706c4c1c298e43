"""The bookkeeping of benchmarks/grids/orchestration.py, on numbers that can be told by hand."""

import json
import math
from pathlib import Path

import pytest

from benchmarks.grids.driver_cpu import Sampler, window
from benchmarks.grids.orchestration import DIGEST
from benchmarks.grids.stand_in import Pace
from benchmarks.grids.timeline import WORK, Timeline, TrialTimes, read_timeline

# Two GPUs from 0 to 10 s. GPU 0: 1 to 4 and 4.5 to 7.5; GPU 1: 2 to 5 and 5.2 to 9.2.
TRIALS = [
    TrialTimes(gpu=0, began=4.5, ended=7.5, work=2.5),
    TrialTimes(gpu=1, began=2.0, ended=5.0, work=2.5),
    TrialTimes(gpu=0, began=1.0, ended=4.0, work=2.5),
    TrialTimes(gpu=1, began=5.2, ended=9.2, work=3.5),
]
TIMELINE = Timeline(TRIALS, began=0.0, wall_s=10.0, gpus=2)


def test_what_was_not_needed_is_lost_also_if_a_gpu_was_busy_with_it() -> None:
    assert TIMELINE.lost_per_trial(needed_s=8.0) == pytest.approx((20 - 8) / 4)


def test_a_gpu_is_idle_while_nothing_is_computed_on_it() -> None:
    assert TIMELINE.idle_share() == pytest.approx(1 - 11 / 20)


def test_a_start_up_is_the_gap_between_two_trials_of_one_gpu() -> None:
    median_s, worst_s = TIMELINE.startups()
    assert (median_s, worst_s) == (pytest.approx(0.35), pytest.approx(0.5))
    assert all(map(math.isnan, Timeline(TRIALS[:2], 0.0, 10.0, 2).startups()))


def test_start_and_end_of_a_run_are_what_is_before_and_after_all_trials() -> None:
    later = Timeline(TRIALS, began=0.5, wall_s=10.0, gpus=2)
    assert (later.first_s(), later.end_s()) == (pytest.approx(0.5), pytest.approx(1.3))


def test_a_timeline_is_read_from_what_trials_wrote(tmp_path: Path) -> None:
    work = [["probe", 1.0, 2.5], ["allocate", 2.6, 3.6]]
    row = {"trial": "a", "gpu": 3, "pid": 1, "began": 0.5, "ended": 4.0, "work": work}
    (tmp_path / WORK).write_text(f"{json.dumps(row)}\n")
    assert read_timeline(tmp_path, 0.0, 5.0, 4) == Timeline(
        [TrialTimes(3, 0.5, 4.0, 2.5)], 0.0, 5.0, 4
    )


def test_the_drivers_share_is_that_of_the_time_in_which_all_trials_run() -> None:
    began, ended = window(TRIALS[:2], settled_s=0.1)
    assert (began, ended) == (4.6, 5.0)
    with pytest.raises(ValueError, match=r"less than 0\.5 s"):
        window(TRIALS[:2], settled_s=0.5)
    sampler = Sampler()
    sampler.times, sampler.cpu = [0.0, 4.0, 5.0], [0.0, 3.0, 3.5]  # half a core from 4 on
    assert sampler.seconds() == 3.5
    assert sampler.share(4.6, 5.0) == pytest.approx(0.5)
    assert sampler.share(3.0, 5.0) == pytest.approx((0.75 + 0.5) / 2)


def test_a_grid_of_stand_ins_has_so_many_probes_with_so_many_readers() -> None:
    pace = Pace(epoch_s=0.1, probe_epochs=10, allocate_epochs=5)
    cells = pace.cells(probes=10, readers=4)
    assert len({cell.cell_id(DIGEST) for cell in cells}) == 40
    probes = [cell.probe_id(DIGEST) for cell in cells]
    assert {probes.count(probe) for probe in probes} == {4}
    assert (pace.probe_s, pace.allocate_s) == (pytest.approx(1.0), pytest.approx(0.5))
    assert {(c.probe.epochs, c.allocate.epochs) for c in cells} == {(10, 5)}
