"""Tries a device: each method, eager and from graphs; memory that runs out; sharing; 16 bits.

All of it is small: networks of 0.02 million weights, on images of 8 × 8. So it says whether things
work, and how much of a small step is its launch; how long a real cell takes is what `plan` knows.
"""

import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from curvetune import models
from curvetune.batch import Batch
from curvetune.config import METHOD_SECTIONS, MethodConfig
from curvetune.conformance.gpu.rows import Row, Status
from curvetune.conformance.gpu.sharing import rates
from curvetune.conformance.problem import batches, build, tensors
from curvetune.errors import printable
from curvetune.methods import Method
from curvetune.training.engine import Eager, Engine, Graphs, Recorder, cuda_graph
from curvetune.training.failures import is_out_of_memory

LIMIT_S = 120.0
STEPS, TIMED = 48, 24  # of each engine; the last ones are timed, after warm-up and capture
SIZE = 20  # samples of a batch
CLOSE = 1e-3  # relative difference of a state: sums in another order, over that many steps
SLACK = 1 << 26  # bytes that are given away before memory is to run out
GRAIN = 1 << 28
SIXTEEN_CLOSE = 0.99  # cosine of the logits of 16 and 32 bits
PACKED_GAIN = 1.1  # from there on two cells on a GPU are worth it


def try_device(
    device: torch.device,
    *,
    record: Recorder = cuda_graph,
    at: Callable[[str], object] = str,
    limit_s: float = LIMIT_S,
) -> Iterator[Row]:
    """Yield what came of each trial; after `limit_s` the methods that are left are not tried.

    Args:
        record: captures steps.
        at: hears what is tried.
    """
    began = time.monotonic()
    for what, make in (
        ("out of memory, and back", memory_row),
        ("bfloat16", bfloat16_row),
        ("two cells at once", packing_row),
    ):
        at(what)
        try:
            yield make(device)
        except Exception as error:  # a row among others: the rest is tried all the same
            yield Row(what, "fail", _said(error))
    left = [*METHOD_SECTIONS]
    while left and time.monotonic() - began < limit_s:
        name = left.pop(0)
        at(name)
        yield method_row(name, device, record)
    if left:
        yield Row("methods", "note", f"not tried in {limit_s:.0f} s: {', '.join(left)}")


def method_row(name: str, device: torch.device, record: Recorder = cuda_graph) -> Row:
    """Return whether the steps of a method can be captured, and end where ordinary ones do."""
    refused: list[RuntimeError] = []

    def watched(work: Callable[[], None], generators: list[torch.Generator]) -> Any:
        try:
            return record(work, generators)
        except RuntimeError as error:
            refused.append(error)
            raise

    try:
        eager, eager_ms = _run(name, device, Eager())
        graphs, graph_ms = _run(name, device, Graphs(watched, samples_per_replay=SIZE))
    except Exception as error:
        return Row(name, "fail", _said(error))
    far = difference(eager, graphs)
    status, found = _judged(far)
    if refused and status != "fail":
        status, found = "warn", f"runs eagerly: {_said(refused[0])}"
    return Row(name, status, found, eager_ms, None if refused else graph_ms)


def _judged(far: float) -> tuple[Status, str]:
    if far == 0.0:
        return "ok", "bit for bit the same"
    if far <= CLOSE:
        return "note", f"the states differ by {far:.1e} of their size"
    return "fail", f"the states differ by {far:.1e} of their size; --engine eager is safe"


def _run(name: str, device: torch.device, engine: Engine) -> tuple[Method, float]:
    """Return a method after its steps, and how many milliseconds one took."""
    method = build(_section(name), device=device)
    method.start_epoch(0)
    made = [Batch(*(part.to(device) for part in one)) for one in batches(STEPS, SIZE)]
    pairs: list[tuple[Batch, Batch | None]] = [(one, one) for one in made]
    for _ in engine.run(method, pairs[:TIMED]):
        pass
    wait(device)
    began = time.perf_counter()
    for _ in engine.run(method, pairs[TIMED:]):
        pass
    wait(device)
    return method, 1e3 * (time.perf_counter() - began) / (STEPS - TIMED)


def _section(name: str) -> MethodConfig:
    """Return the options of a method: its own, but that it reads nearly all of six epochs."""
    section = METHOD_SECTIONS[name]
    reads_curves = "removed_losses" in section.model_fields
    return section.model_validate({"removed_losses": 1} if reads_curves else {})


def difference(one: Method, other: Method) -> float:
    """Return the largest difference of two methods' states, relative to the size of each tensor."""
    left, right = (tensors(method.state.state_dict()) for method in (one, other))
    return max((_far(a, b) for a, b in zip(left, right, strict=True)), default=0.0)


def _far(a: Tensor, b: Tensor) -> float:
    if torch.equal(a, b):
        return 0.0
    if not a.is_floating_point():
        return math.inf
    far = float((a - b).abs().max() / a.abs().max().clamp_min(1e-12))
    return far if math.isfinite(far) else math.inf


def memory_row(device: torch.device) -> Row:
    """Return whether a process goes on after its memory has run out, of a share of the GPU."""
    what = "out of memory, and back"
    if device.type != "cuda":
        return Row(what, "note", "of a GPU only; not tried here")
    total = torch.cuda.get_device_properties(device).total_memory
    share = (torch.cuda.memory_reserved(device) + GRAIN + SLACK) / total
    torch.cuda.set_per_process_memory_fraction(min(1.0, share), device)  # others keep theirs
    held: list[Tensor] = []
    try:
        for _ in range(8):
            held.append(torch.empty(GRAIN, dtype=torch.uint8, device=device))
        return Row(what, "fail", "the limit of a process did not hold")
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
    finally:
        held.clear()
        torch.cuda.empty_cache()
        torch.cuda.set_per_process_memory_fraction(1.0, device)
    _run("cross-entropy", device, Eager())
    return Row(what, "ok", "it was told, and the next steps ran")


def bfloat16_row(device: torch.device) -> Row:
    """Return how far the logits of 16 bits are from those of 32, and how much faster a step is."""
    x = torch.randn(128, 3, 32, 32, generator=torch.Generator().manual_seed(0)).to(device)
    logits, milliseconds = {}, {}
    for precision in ("float32", "bfloat16"):
        draws = torch.Generator().manual_seed(1)
        model = models.build("resnet8", 10, init="kaiming", precision=precision, generator=draws)
        model.to(device)
        times = []
        for _ in range(8):
            wait(device)
            began = time.perf_counter()
            out = model(x)
            out.logsumexp(dim=1).mean().backward()
            wait(device)
            times.append(time.perf_counter() - began)
        logits[precision], milliseconds[precision] = out.detach().float(), 1e3 * min(times)
    full, half = logits["float32"].flatten(), logits["bfloat16"].flatten()
    cosine = float(torch.cosine_similarity(full, half, dim=0))
    ratio = milliseconds["float32"] / milliseconds["bfloat16"]
    found = f"cosine of the logits {cosine:.5f}; a step of ResNet-8 is {ratio:.2f} times as fast"
    return Row("bfloat16", "ok" if cosine >= SIXTEEN_CLOSE else "fail", found)


def packing_row(device: torch.device) -> Row:
    """Return how many more steps two processes make on the device than one."""
    alone, together = rates(device)
    ratio = together / alone
    found = f"two processes make {ratio:.2f} times the steps of one ({alone:.0f} a second)"
    return Row("two cells at once", "ok" if ratio >= PACKED_GAIN else "note", found)


def wait(device: torch.device) -> None:
    """Wait until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _said(error: BaseException) -> str:
    first = str(error).strip().partition("\n")[0]
    return printable(f"{type(error).__name__}: {first}", 200)
