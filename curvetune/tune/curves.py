"""Curves through Ray's object store: read and checked once, then shared by all trials."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import ray
from numpy.typing import NDArray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy as On

from curvetune.errors import CorruptError
from curvetune.store import CurveStore

CACHE_BYTES = 2_000_000_000  # 33 full CIFAR probes of 49,000 samples and 300 epochs


class CurveCache:
    """Reads each probe once and keeps the newest within `capacity_bytes`; runs as a Ray actor."""

    def __init__(
        self,
        storage: Path,
        capacity_bytes: int = CACHE_BYTES,
        put: Callable[[NDArray[np.float32]], Any] = ray.put,
    ) -> None:
        self._store = CurveStore(storage)
        self._capacity_bytes = capacity_bytes
        self._put = put
        self._kept: OrderedDict[str, tuple[Any, int]] = OrderedDict()  # least recently used first
        self._disk_reads = 0

    def ref(self, probe_id: str) -> Any:
        """Return a reference to the curves, (N, T), of a probe.

        Raises:
            CorruptError: the probe is missing or not what its checksum says; nothing is kept.
        """
        if probe_id not in self._kept:
            # asarray: Ray copies a memory map into its pickle, but shares a plain array's buffer
            curves = np.asarray(self._store.read(probe_id))
            self._disk_reads += 1
            self._kept[probe_id] = (self._put(curves), curves.nbytes)
            self._evict()
        self._kept.move_to_end(probe_id)
        return self._kept[probe_id][0]

    def forget(self, probe_id: str) -> None:
        """Drop a probe that was written anew; trials that read it keep what they have."""
        self._kept.pop(probe_id, None)

    def disk_reads(self) -> int:
        """Return how many probes were read from the disk so far."""
        return self._disk_reads

    def _evict(self) -> None:
        """Drop the least recently used until the rest fits; the newest always stays."""
        while len(self._kept) > 1 and self._bytes() > self._capacity_bytes:
            self._kept.popitem(last=False)

    def _bytes(self) -> int:
        return sum(size for _, size in self._kept.values())


def start_cache(storage: Path, capacity_bytes: int = CACHE_BYTES) -> Any:
    """Start the cache as an actor that takes no CPU from the trials, and return its handle.

    It lives on the driver's node: others need not reach the storage if they run no trials.
    """
    here = On(ray.get_runtime_context().get_node_id(), soft=False)
    actor: Any = ray.remote(num_cpus=0, max_restarts=-1)(CurveCache)
    return actor.options(scheduling_strategy=here).remote(storage, capacity_bytes)


@dataclass(frozen=True)
class CurveReader:
    """How a trial reads curves: through the cache, or from the disk if it is lost or None.

    On one machine nothing is won by a cache: the kernel has what was read, and it is a process.
    """

    storage: Path
    cache: Any

    def __call__(self, probe_id: str) -> NDArray[np.float32]:
        """Return the curves, (N, T), of a probe: read-only, in shared memory.

        Raises:
            CorruptError: the probe is missing or not what its checksum says.
        """
        if self.cache is None:
            return CurveStore(self.storage).read(probe_id)
        try:
            curves: NDArray[np.float32] = ray.get(ray.get(self.cache.ref.remote(probe_id)))
        except CorruptError as error:  # Ray's own subclass of it, with a remote traceback
            raise CorruptError(str(getattr(error, "cause", error))) from None
        except RayError:
            return CurveStore(self.storage).read(probe_id)
        return curves

    def forget(self, probe_id: str) -> None:
        """Tell the cache that a probe was written anew, and wait until it knows."""
        if self.cache is None:
            return
        try:
            ray.get(self.cache.forget.remote(probe_id))
        except RayError:
            return  # a cache that is lost has nothing to forget
