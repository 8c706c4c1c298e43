"""Images for the trials of other nodes, which need not have the files that the driver reads."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from curvetune.data.sets.residence import is_streamed
from curvetune.data.source import Dataset, Images

SHARE = 0.3  # of the smallest object store, which curves need too. Chosen, not measured


def carried(dataset: Any, nodes: Sequence[Mapping[str, float]]) -> Any:
    """Return a data set with its images in memory, if there are other nodes and it fits there.

    Ray then brings them to each node once. Images that are too many stay where they are: each node
    reads them under the same path.

    Args:
        dataset: another object, of a stand-in, is returned as it is.
        nodes: what each has, as {"CPU": 8.0, "object_store_memory": 1e9, …}.
    """
    if len(nodes) < 2 or not isinstance(dataset, Dataset):
        return dataset
    parts = (dataset.train, dataset.test)
    room = SHARE * min(node.get("object_store_memory", 0.0) for node in nodes)
    if sum(int(np.prod(part.x.shape)) for part in parts) > room:
        return dataset
    if is_streamed(dataset, "auto", torch.device("cpu")):  # too many for the driver's own memory
        return dataset
    train, test = (Images(part.x[np.arange(len(part))], part.y) for part in parts)
    return replace(dataset, train=train, test=test)
