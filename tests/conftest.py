"""What all tests share."""

import os
import random
import zlib
from collections.abc import Iterator

os.environ.setdefault("OMP_NUM_THREADS", "1")  # two workers on two cores, each with one thread

import numpy as np
import pytest
import torch

from curvetune.data.stream import disk
from curvetune.plugins import load


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def own_seed(request: pytest.FixtureRequest) -> None:
    """Give each test the same draws in every run, whatever runs before it."""
    seed = zlib.crc32(request.node.nodeid.encode())
    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002 the global stream, which a test or a library may draw from
    random.seed(seed)


@pytest.fixture(autouse=True)
def own_plugins() -> Iterator[None]:
    """Take back after each test the plugins that it has loaded; tests share a process."""
    before = {plugin.ref.name for plugin in load.loaded()}
    yield
    for name in {plugin.ref.name for plugin in load.loaded()} - before:
        load._forget(name)


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep what tests decode out of the user's cache, and let it have room on a full disk too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CURVETUNE_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(disk, "RESERVE_SHARE", 0.0)
        yield


@pytest.fixture(scope="module")
def fake_gpus() -> Iterator[None]:
    """Let GPUs be numbers that only Ray knows, so that trials on them train on the CPU."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CURVETUNE_FAKE_GPUS", "1")
        yield


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what the fault suite measured; here, since xdist's own process reads no other one."""
    passed = terminalreporter.stats.get("passed", [])
    found = [of_test for report in passed for of_test in report.user_properties]
    for line in sorted(text for name, text in found if name == "figure"):
        terminalreporter.write_line(line)
    kills = [number for name, number in found if name == "kills"]
    if kills:
        terminalreporter.write_line(f"F1: {len(kills)} rounds, {sum(kills)} kills")
