"""Label files of the public form of CIFAR-10N and CIFAR-100N, with made-up labels."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

Labels = NDArray[np.int64]
KEYS = ("aggre_label", "worse_label", "random_label1", "random_label2", "random_label3")
SHARES = (0.09, 0.402, 0.172, 0.181, 0.176)


def noisy(clean: Labels, share: float, classes: int, seed: int) -> Labels:
    """Return labels of which about `share` are another class."""
    draw = np.random.default_rng(seed)
    wrong = draw.random(len(clean)) < share
    return np.where(wrong, (clean + draw.integers(1, classes, len(clean))) % classes, clean)


def columns10(clean: Labels) -> dict[str, Labels]:
    """Return what CIFAR-10_human.pt holds."""
    kinds = enumerate(zip(KEYS, SHARES, strict=True))
    made = {key: noisy(clean, share, 10, k) for k, (key, share) in kinds}
    return {"clean_label": clean, **made}


def write_pt(folder: Path, content: Any, name: str = "CIFAR-10_human.pt") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(content, folder / name)
    return folder / name


def write_ordered(folder: Path, columns: dict[str, Labels], order: Labels | None) -> Path:
    """Write the second form: rows as `order` has them, and the order itself unless it is None."""
    folder.mkdir(parents=True, exist_ok=True)
    shown = order if order is not None else np.arange(len(columns["clean_label"]))[::-1]
    path = folder / "CIFAR-10_human_ordered.npy"
    content: Any = {key: labels[shown] for key, labels in columns.items()}
    np.save(path, content, allow_pickle=True)
    if order is not None:
        np.save(folder / "image_order_c10.npy", order)
    return path
