"""The probing run: cross entropy on the biased data, recording every sample's loss.

Source: Jiang et al., AAAI 2022, section "Overall Structure"; schedule of the released code in
methods.md 4.1. The value recorded for a sample and epoch is its loss in the ordinary training pass:
batch statistics, augmented view, before that step's update. There is no extra pass.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from curvetune.config import ProbeConfig
from curvetune.data.resident import ResidentSet
from curvetune.methods.cross_entropy import LossMethod, cross_entropy
from curvetune.store import CurveStore
from curvetune.train.checkpoint import Checkpoint
from curvetune.train.fit import Loop, Row, fit


def run_probe(
    config: ProbeConfig,
    model: nn.Module,
    train: ResidentSet,
    stream: torch.Generator,
    *,
    storage: Path,
    probe_id: str,
    info: dict[str, Any],
    checkpoint_every: int,
    on_epoch: Callable[[Row], object],
) -> NDArray[np.float32]:
    """Train `model`, publish its curves under `probe_id` and return them, (N, T).

    Goes on from its last checkpoint.

    Args:
        info: goes into the manifest.

    Raises:
        DivergedError: a loss is not finite.
        StorageError: the storage cannot be written.
    """
    store = CurveStore(storage)
    folder = store.folder(probe_id)
    curves = torch.zeros(len(train), config.epochs, device=next(model.parameters()).device)
    loop = Loop(
        recipe=config,
        train=train,
        streams={"train": stream},
        checkpoint=Checkpoint(folder / "checkpoint.safetensors", checkpoint_every),
        history=folder / "history.jsonl",
        on_epoch=on_epoch,
        curves=curves,
    )
    fit(LossMethod(model, config, cross_entropy), loop)
    result: NDArray[np.float32] = curves.cpu().numpy()
    seconds = sum(row["seconds"] for row in loop.rows)
    store.write(probe_id, result, info | {"seconds": seconds, "finished": time.time()})
    loop.checkpoint.remove()
    return result
