"""Ray that starts while the driver prepares, and workers that need not be started again."""

import os
import sys
import threading
from typing import Any

import pytest
import ray
from ray import cloudpickle
from ray.tune.execution import class_cache

from curvetune.planning.resources import LaunchOptions
from curvetune.tune import cluster
from curvetune.tune.early import Early, every_worker_trains, is_here

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # type: ignore[no-untyped-call]

CPUS = os.cpu_count() or 1


class Asked:
    """What a trial of Tune is to Ray: an actor."""

    def answer(self) -> tuple[int, bool, str | None, str | None]:
        is_ready = "curvetune.cell" in sys.modules
        names = ("RAY_CHDIR_TO_TRIAL_DIR", "MALLOC_ARENA_MAX")
        return (os.getpid(), is_ready, *(os.environ.get(name) for name in names))


@pytest.mark.ray
def test_trials_run_in_the_workers_that_ray_starts_with_itself_which_have_all_imported() -> None:
    before = dict(os.environ)
    copied, added = set(class_cache.ENV_VARS_TO_PROPAGATE), dict(class_cache.DEFAULT_ENV_VARS)
    early = Early(LaunchOptions(), trials=CPUS)
    with early:
        assert cluster.is_ours()
        with cluster.without_copies():
            made: Any = class_cache._ActorClassCache().get(Asked)  # type: ignore[no-untyped-call]
            actors = [made.options(num_cpus=1).remote() for _ in range(CPUS)]
            answers = ray.get([actor.answer.remote() for actor in actors])
    assert {answer[1:] for answer in answers} == {(True, "0", "1")}
    assert len({pid for pid, *_ in answers}) == CPUS
    assert not ray.is_initialized()
    assert not cluster.is_ours()
    assert {name: os.environ.get(name) for name in before} == before
    assert "RAY_preload_python_modules" not in os.environ
    assert (copied, added) == (class_cache.ENV_VARS_TO_PROPAGATE, class_cache.DEFAULT_ENV_VARS)
    assert "ray" not in {thread.name for thread in threading.enumerate()}


@pytest.mark.parametrize(
    ("options", "trials", "expected"),
    [
        (LaunchOptions(), CPUS, True),
        (LaunchOptions(), CPUS - 1, False),
        (LaunchOptions(cpus_per_trial=0.5), 100, True),
        (LaunchOptions(cpus_per_trial=2.0), 100, False),
        (LaunchOptions(max_concurrent=CPUS), 100, True),
        (LaunchOptions(max_concurrent=CPUS - 1 or None), 100, CPUS == 1),
        (LaunchOptions(data_cpus=1), 100, False),
    ],
)
def test_workers_import_beforehand_only_if_each_of_them_will_run_trials(
    options: LaunchOptions, trials: int, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("curvetune.tune.early.GPUS", ())
    assert every_worker_trains(options, trials) == expected
    monkeypatch.setattr("curvetune.tune.early.GPUS", ("null",))  # a device that is there
    assert not every_worker_trains(options, trials)


def test_a_cluster_is_not_started_early(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert is_here(LaunchOptions())
    assert is_here(LaunchOptions(address="local"))
    assert not is_here(LaunchOptions(address="10.0.0.1:6379"))
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    assert not is_here(LaunchOptions())


@pytest.mark.ray
def test_what_keeps_ray_from_starting_is_told_to_who_waits_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fails(address: str | None) -> Any:
        raise RuntimeError("no sockets")

    monkeypatch.setattr(cluster, "connected", fails)
    early = Early(LaunchOptions(), trials=1)
    with pytest.raises(RuntimeError, match="no sockets"), early:
        pass
    early.end()
