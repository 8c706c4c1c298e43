"""The probing run: cross entropy on the biased data, recording every sample's loss.

Source: Jiang et al., AAAI 2022, section "Overall Structure"; schedule and recorded value as in
jiangwenj02/CurveNet-V1 (processor/recognition_cycle.py). The value of a sample and epoch is its
loss in the ordinary training pass: batch statistics, augmented view, before that step's update.
Its margin is of the same pass. There is no extra pass: the loop keeps the values as it goes
(training/fit.py).
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from curvetune.config import TrainingConfig
from curvetune.data.sets.image_set import ImageSet
from curvetune.methods.cross_entropy import cross_entropy
from curvetune.methods.shared.objective import LossMethod, Subset
from curvetune.probe.recording import Recording, condensed
from curvetune.store import CurveStore
from curvetune.store.lease import Lease
from curvetune.store.names import CHECKPOINT, HISTORY, MODEL
from curvetune.training.checkpoint import Checkpoint, save_state
from curvetune.training.columns import Columns
from curvetune.training.engine import engine_for
from curvetune.training.fit import Loop, Row, fit, never, nothing
from curvetune.training.provenance import moved


def run_probe(
    config: TrainingConfig,
    model: nn.Module,
    train: ImageSet,
    stream: torch.Generator,
    *,
    storage: Path,
    probe_id: str,
    info: dict[str, Any],
    checkpoint_every: int,
    on_epoch: Callable[[Row], object],
    stop: Callable[[], bool] = never,
    subset: Subset | None = None,
    lease: Lease | None = None,
) -> NDArray[np.float32]:
    """Train `model`, publish it and its curves under `probe_id`, and return the curves, (N, T).

    Goes on from its last checkpoint.

    Args:
        info: goes into the manifest.
        stop: asked before every epoch.
        subset: the samples to train on; the curves of all others are NaN.
        lease: of the probe's folder, which must be held still when anything is written.

    Raises:
        DivergedError: a loss is not finite.
        LostLeaseError: another process took the probe over.
        StoppedError: `stop` said so.
        StorageError: the storage cannot be written.
    """
    store = CurveStore(storage)
    folder = store.folder(probe_id)
    loop = Loop(
        recipe=config,
        train=train,
        streams={"train": stream},
        checkpoint=Checkpoint(folder / CHECKPOINT, checkpoint_every),
        history=folder / HISTORY,
        on_epoch=on_epoch,
        stop=stop,
        guard=nothing if lease is None else lease.check,
        record=Recording(train.y, config.records_exact_loss),
        condense=condensed if train.reads else None,
        columns=Columns(folder) if train.reads else None,
        engine=engine_for(train, next(model.parameters()).device),
        layers_seed=stream.initial_seed(),
    )
    method = LossMethod(model, config, cross_entropy, subset=subset, with_logits=True)
    made = fit(method, loop)
    recorded = {name: values.cpu().numpy() for name, values in made.recorded.items()}
    loop.guard()
    save_state(folder / MODEL, {"model": model.state_dict()})
    seconds = sum(row["seconds"] for row in made.rows)
    info = info | {"seconds": seconds, "finished": time.time(), **moved(made.devices)}
    store.write(probe_id, recorded["loss"], info, lease, margins=recorded.get("margin"))
    loop.checkpoint.remove()
    Columns(folder).remove()  # of this run, or of one that began where memory was short
    return recorded["loss"] if loop.columns is None else store.read(probe_id)
