"""Grids that are sent to a head with two workers: the same results, attached to, stopped."""

import re
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import grids
import pytest
import ray_heads
from ray_heads import Cluster

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.timeout(900),
    pytest.mark.skipif(ray_heads.why_not() is not None, reason=str(ray_heads.why_not())),
]
# Four cells on two probes.
TINY = grids.SPACE.replace("seed: [0, 1, 2]", "seed: [0, 1]").replace("[0.0, 0.4]", "[0.4]")
# Two cells whose final trainings take long enough to be stopped in their middle.
LONG = TINY.replace("allocate: {epochs: 4,", "allocate: {epochs: 100,").replace("[0, 1]", "[0]")
BROKEN = """
from typing import ClassVar, Literal
from curvetune.plugins import MethodConfig, method
__version__ = "1"
class BrokenConfig(MethodConfig):
    name: Literal["broken"] = "broken"
    source: ClassVar[str] = "this test"
@method(BrokenConfig)
def build(config, parts):
    raise RuntimeError("broken on purpose")
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with ray_heads.cluster(workers=2) as found:
        yield found


def space(folder: Path, name: str, text: str) -> str:
    path = folder / f"{name}.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def laptop(folder: Path, path: str) -> dict[str, object]:
    """Return the results of a grid that Ray runs on this machine alone."""
    process = grids.start(Path(path), folder / "laptop")
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output
    return grids.contents(folder / "laptop")


def until(fact: Callable[[], object], limit_s: float, what: str) -> None:
    deadline = time.monotonic() + limit_s
    while not fact():
        assert time.monotonic() < deadline, f"not within {limit_s:g} s: {what}"
        time.sleep(0.1)


def job_of(output: str) -> str:
    found = re.search(r"curvetune-[a-z]+-[0-9a-f]{12}(-\d+)?", output)
    assert found is not None, output
    return found[0]


def test_trial_12_the_results_of_a_job_are_those_of_a_laptop_bit_for_bit(
    cluster: Cluster, tmp_path: Path
) -> None:
    path = space(tmp_path, "tiny", TINY)
    storage = tmp_path / "results"
    done = cluster.run("submit", path, "--storage", str(storage), "--checkpoint-every", "2")
    assert done.returncode == 0, done.stdout
    assert grids.contents(storage) == laptop(tmp_path, path)
    record = (storage / "grids" / "tiny.json").read_text()
    assert f"curvetune submit {path} --storage" in record


def test_trial_13_a_grid_that_is_stopped_keeps_checkpoints_and_goes_on_from_there(
    cluster: Cluster, tmp_path: Path
) -> None:
    path = space(tmp_path, "long", LONG)
    storage = tmp_path / "results"
    words = ("submit", path, "--storage", str(storage), "--checkpoint-every", "1000")
    first = cluster.start(*words)

    def histories() -> list[int]:
        return [p.read_bytes().count(b"\n") for p in storage.glob("cells/*/history.jsonl")]

    until(lambda: sum(n >= 10 for n in histories()) == 2, 300, "both cells are in their middle")
    stopped = cluster.run("stop", "long")
    output, _ = first.communicate(timeout=60)
    assert stopped.returncode == 0, stopped.stdout
    assert "STOPPED" in stopped.stdout
    assert first.returncode == 4, output
    assert "the same command goes on from there" in output
    assert len(list(storage.glob("cells/*/checkpoint*"))) == 2
    before = histories()
    assert all(10 <= n < 100 for n in before)

    again = cluster.run(*words)
    assert again.returncode == 0, again.stdout
    assert job_of(again.stdout) == f"{job_of(output)}-2"
    assert grids.contents(storage) == laptop(tmp_path, path)


def test_a_second_submit_follows_the_first_and_ctrl_c_ends_no_grid(
    cluster: Cluster, tmp_path: Path
) -> None:
    path = space(tmp_path, "twice", LONG.replace("epochs: 100", "epochs: 40"))
    storage = tmp_path / "results"
    words = ("submit", path, "--storage", str(storage))
    sent = cluster.run(*words, "--no-wait")
    assert sent.returncode == 0, sent.stdout
    follower = cluster.start(*words)
    until(lambda: list(storage.glob("cells/*/history.jsonl")), 300, "a cell runs")
    follower.send_signal(signal.SIGINT)
    output, _ = follower.communicate(timeout=30)
    assert follower.returncode == 4, output
    assert f"curvetune logs -f {job_of(sent.stdout)}" in output
    assert "was sent before; following it" in output

    last = cluster.run(*words, "--max-concurrent", "1")
    assert last.returncode == 0, last.stdout
    assert {job_of(sent.stdout), job_of(output)} == {job_of(last.stdout)}
    assert "mean accuracy (MA, %)" in last.stdout
    assert len(grids.results(storage)) == 2


def test_a_grid_ends_there_with_the_exit_code_that_it_has_here(
    cluster: Cluster, tmp_path: Path
) -> None:
    plugin = tmp_path / "broken_one.py"
    plugin.write_text(BROKEN)
    path = space(tmp_path, "failing", TINY.replace("{name: cross-entropy}", "{name: broken}"))
    storage = ("--storage", str(tmp_path / "results"))
    some = cluster.run("submit", path, "--plugin", str(plugin), *storage)
    assert some.returncode == 3, some.stdout
    assert "broken on purpose" in some.stdout
    assert "--plugin" in some.stdout.splitlines()[-1]

    lacking = cluster.run("submit", "cifar10", *storage, "--data-dir", "/nowhere/cifar")
    assert lacking.returncode == 2, lacking.stdout
    assert "/nowhere/cifar" in lacking.stdout.splitlines()[-1]


def test_a_head_on_loopback_needs_no_token_but_a_python_on_its_path(tmp_path: Path) -> None:
    path = "/usr/bin:/bin"
    if shutil.which("python", path=path):
        pytest.skip(f"there is a python in {path}")
    with ray_heads.cluster(env={"PATH": path, "RAY_AUTH_MODE": "disabled"}) as bare:
        done = bare.run("submit", "digits", "--storage", str(tmp_path / "results"))
    assert done.returncode == 5, done.stdout
    assert "no `python` on the PATH of its Ray" in done.stdout
