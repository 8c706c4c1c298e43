"""A Ray cluster that outlives the commands which use it, and a clean run to compare with."""

import fcntl
import os
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import grids
import pytest
from proxy import Proxy, proxy_to
from storage_fixtures import write_grid
from tracking_helpers import mlflow_server, the_cells

Figure = Callable[[str], None]
_numbers = count()


@pytest.fixture
def figure(record_property: Callable[[str, object], None]) -> Figure:
    """Print a line at the end of a run (tests/conftest.py), of whichever process the test is in."""
    return lambda text: record_property("figure", text)


@pytest.fixture(scope="session")
def address() -> Iterator[str]:
    """The address of a cluster with four CPUs, on two real ones, and no GPU."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 4, "include_dashboard": False},
    )
    yield str(cluster.address)
    cluster.shutdown()


@pytest.fixture(scope="session")
def space(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return grids.write_space(tmp_path_factory.mktemp("space"))


@pytest.fixture(scope="session")
def clean(tmp_path_factory: pytest.TempPathFactory, space: Path, address: str) -> Path:
    """The storage of a run that nothing disturbed, one for all processes of this test run."""
    folder = tmp_path_factory.getbasetemp()
    folder = folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder
    storage = folder / "clean"
    with (folder / "clean.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not storage.exists():
            code, output = grids.run(space, storage, "--address", address)
            assert code == 0, output
    assert len(grids.results(storage)) == grids.CELLS
    assert grids.starts(storage) == grids.CELLS
    return storage


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with mlflow_server(tmp_path_factory.mktemp("server")) as port:
        yield port


@pytest.fixture
def proxy(port: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    import curvetune.tracking.mlflow  # noqa: F401, which sets 5 s where nothing is set

    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    with proxy_to(port) as proxy:
        yield proxy


@pytest.fixture
def grid(tmp_path: Path) -> str:
    """A grid of four cells, none of which has begun; its name is new to the server."""
    name = f"grid-{next(_numbers)}"
    write_grid(tmp_path, the_cells(), name)
    return name
