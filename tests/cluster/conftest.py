"""The hosts that the cluster's tests run on, and a laptop's results to compare with."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import space
from bed import Bed, a_bed, why_not


@pytest.hookimpl(tryfirst=True)  # before -m looks at the markers
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark all that is below this folder, and skip it where no bed can be."""
    mine = [item for item in items if Path(__file__).parent in item.path.parents]
    for item in mine:
        item.add_marker(pytest.mark.cluster)
    if mine and (reason := why_not()) is not None:
        for item in mine:
            if {"bed", "session_bed"} & {*getattr(item, "fixturenames", ())}:
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def session_bed() -> Iterator[Bed]:
    """One bed for all tests of this process; starting the hosts takes about a second."""
    with a_bed() as bed:
        bed.up(3)
        yield bed


@pytest.fixture
def bed(session_bed: Bed) -> Iterator[Bed]:
    """Three hosts on which nothing runs, with empty folders."""
    yield session_bed
    session_bed.reset()


@pytest.fixture(scope="session")
def laptop(session_bed: Bed, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The storage of the tiny grid, run on one host alone: what a laptop makes of it."""
    return _laptop(session_bed, tmp_path_factory, "tiny", space.SPACE)


@pytest.fixture(scope="session")
def long_laptop(session_bed: Bed, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same of the grid whose cells take long enough to be hurt in their middle."""
    return _laptop(session_bed, tmp_path_factory, "long", space.LONG)


def _laptop(bed: Bed, factory: pytest.TempPathFactory, name: str, text: str) -> Path:
    """Run a grid on a host alone, once for all processes of this test run."""
    folder = factory.getbasetemp()
    folder = folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder
    storage = folder / f"laptop-{name}"
    with (folder / f"laptop-{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not storage.exists():
            code, output = space.run_grid(bed, "h3", head=None, text=text)
            assert code == 0, output
            shutil.copytree(bed.shared / "results", storage)
            bed.reset()
    return storage
