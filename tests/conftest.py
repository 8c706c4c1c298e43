"""What all tests share."""

import os
from collections.abc import Iterator

os.environ.setdefault("OMP_NUM_THREADS", "1")  # two workers on two cores, each with one thread

import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep what tests decode out of the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CURVETUNE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
