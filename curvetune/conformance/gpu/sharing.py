"""How many steps two processes make on one device, against one: what packing cells is worth."""

import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor

import torch

from curvetune.batch import Batch
from curvetune.config import METHOD_SECTIONS
from curvetune.conformance.problem import batches, build

MEASURED_S = 2.0
START_S = 60.0  # a process imports PyTorch, and makes a context on the device


def rates(device: torch.device, measured_s: float = MEASURED_S) -> tuple[float, float]:
    """Return the steps a second of one process alone, and of two at once together.

    Raises:
        TimeoutError: a process does not come.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        warm = [pool.submit(steps_until, str(device), 0.0, 1.0) for _ in range(2)]
        for one in warm:
            one.result(START_S)
        alone = pool.submit(steps_until, str(device), 0.0, measured_s).result(START_S)
        begin = time.time() + 0.3  # both hear of it before
        both = [pool.submit(steps_until, str(device), begin, measured_s) for _ in range(2)]
        return alone, sum(one.result(START_S) for one in both)


def steps_until(device: str, begin: float, for_s: float) -> float:
    """Return how many steps a second this process makes, from the time `begin` on."""
    torch.set_num_threads(1)
    where = torch.device(device)
    method = build(METHOD_SECTIONS["cross-entropy"](), device=where)
    method.start_epoch(0)
    made = [Batch(*(part.to(where) for part in one)) for one in batches(8)]
    method.step(made[0], None)
    time.sleep(max(0.0, begin - time.time()))
    count, began = 0, time.perf_counter()
    while time.perf_counter() - began < for_s:
        for batch in made:
            method.step(batch, None)
        if where.type == "cuda":
            torch.cuda.synchronize(where)
        count += len(made)
    return count / (time.perf_counter() - began)
