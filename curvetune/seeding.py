"""Named streams of randomness; the library never touches a global seed.

Every draw names its stream, so a new one cannot shift the others, and two methods with the same
seed see the same initial classifier and the same order of batches.
"""

import hashlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


def entropy(seed: int, name: str) -> list[int]:
    """Return the entropy of stream `name` under `seed`, stable across processes and versions."""
    return [seed, int.from_bytes(hashlib.sha256(name.encode()).digest()[:8])]


def numpy_stream(seed: int, name: str) -> np.random.Generator:
    """Return NumPy's generator of stream `name` under `seed`."""
    return np.random.default_rng(np.random.SeedSequence(entropy(seed, name)))


def torch_stream(seed: int, name: str, device: "torch.device | None" = None) -> "torch.Generator":
    """Return a PyTorch generator of stream `name` under `seed` on `device` (the CPU if None)."""
    import torch  # inside: planning draws splits with `numpy_stream` and must not pay for it

    state = np.random.SeedSequence(entropy(seed, name)).generate_state(1, np.uint64)
    return torch.Generator(device or "cpu").manual_seed(int(state[0]))
