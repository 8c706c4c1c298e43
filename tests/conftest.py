"""What all tests share."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # two workers on two cores, each with one thread

import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    torch.set_num_threads(1)
