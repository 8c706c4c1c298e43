"""What a million streamed rows cost a trial and a driver in memory, beside ten thousand.

    python -m benchmarks.training.streamed_memory --repeats 3 --threads 1

Each measurement is a process of its own. `driver` makes and writes the split; `trial` reads it,
makes the sets, runs the real loop for two epochs of a probe, with evaluation, and publishes the
curves. Images are JPEGs of 64×64 pixels, which are decoded as they are read. The network of these
epochs is one layer on pooled pixels, so that nearly all memory is that of the process and of the
rows. `network` is the same process after a step of a ResNet-32 on 128 such images, with all that
the loop held still held. Curves are in files by column. `anonymous_mb` is the most that was not
mapped from a file, looked at every 20 ms; `resident_mb` is the kernel's peak of all.
"""

import argparse
import io
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from benchmarks.timing import append
from curvetune import models
from curvetune.config import AllocateConfig, CellConfig, DataConfig
from curvetune.data.pixels import Positions
from curvetune.data.sets.reading import reading
from curvetune.data.sets.residence import image_set
from curvetune.data.source import Dataset, Images
from curvetune.methods.cross_entropy import cross_entropy
from curvetune.methods.shared.objective import LossMethod
from curvetune.probe.recording import Recording, condensed
from curvetune.store import CurveStore
from curvetune.training.checkpoint import Checkpoint
from curvetune.training.columns import Columns
from curvetune.training.engine import prepare
from curvetune.training.fit import Loop, fit
from curvetune.training.metrics import evaluate
from curvetune.training.split import load_split

SIZES = (10_000, 1_000_000)
CLASSES = 10
TEST = 1000
JPEGS = 256
DIGEST = "0" * 64
CELL = CellConfig(data=DataConfig(name="digits", meta_per_class=10))
MIB = 1 << 20


def encoded(image: NDArray[np.uint8]) -> bytes:
    """Return an image, (H, W), as the bytes of a JPEG."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG")
    return file.getvalue()


def decoded(content: bytes) -> NDArray[np.uint8]:
    """Return the pixels of a JPEG, (H, W)."""
    with Image.open(io.BytesIO(content), formats=("JPEG",)) as image:
        return np.asarray(image)


class Made:
    """Pixels that are decoded as they are read, from one of some JPEGs."""

    def __init__(self, count: int) -> None:
        self.shape = (count, 1, 64, 64)
        values = np.random.default_rng(0).integers(256, size=(JPEGS, 8, 8), dtype=np.uint8)
        self._contents = [encoded(image.repeat(8, 0).repeat(8, 1)) for image in values]

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, positions: Positions) -> NDArray[np.uint8]:
        """Return some images."""
        which = (positions * 97) % JPEGS
        return np.stack([decoded(self._contents[k]) for k in which.tolist()])[:, None]

    def read(self, positions: Positions, batch_size: int) -> Iterator[NDArray[np.uint8]]:
        """Yield images in order."""
        for start in range(0, len(positions), batch_size):
            yield self[positions[start : start + batch_size]]


def dataset(rows: int) -> Dataset:
    """Return a set of `rows` training images."""
    y = np.arange(rows) % CLASSES
    test = np.arange(TEST) % CLASSES
    names = tuple(str(k) for k in range(CLASSES))
    train, tested = Images(Made(rows), y), Images(Made(TEST), test)
    return Dataset("made", train, tested, names, (127.0,), (64.0,), pad=4, flip=True)


def driver(rows: int, storage: Path) -> Iterator[str]:
    """Make the split of a cell, and write it."""
    load_split(CELL, DIGEST, dataset(rows), storage)
    yield "driver"


def trial(rows: int, storage: Path) -> Iterator[str]:
    """Train for two epochs on the driver's split; then take a step of a real network."""
    prepare(device := torch.device("cpu"))
    facts = dataset(rows)
    split = load_split(CELL, DIGEST, facts, storage)
    train = image_set(facts.train, split.train, split.y, facts, device, streamed=True)
    y = facts.test.y[split.test]
    test = image_set(facts.test, split.test, y, facts, device, streamed=True)
    recipe = AllocateConfig(epochs=2, milestones=(), warmup=0, batch_size=128)
    model = nn.Sequential(nn.AvgPool2d(16), nn.Flatten(), nn.Linear(16, CLASSES))
    method = LossMethod(model, recipe, cross_entropy, with_logits=True)
    loop = Loop(
        recipe=recipe,
        train=train,
        streams={"train": torch.Generator().manual_seed(0)},
        checkpoint=Checkpoint(storage / "checkpoint.safetensors", 1),
        history=storage / "history.jsonl",
        evaluate=lambda network: {"accuracy": evaluate(network, test, CLASSES).accuracy},
        record=Recording(train.y, True),
        condense=condensed,
        columns=Columns(storage),
    )
    made = fit(method, loop)
    recorded = {name: values.numpy() for name, values in made.recorded.items()}
    CurveStore(storage).write(DIGEST[:16], recorded["loss"], {}, margins=recorded["margin"])
    yield "trial"
    generator = torch.Generator().manual_seed(0)
    network = models.build("resnet32", CLASSES, 1, generator=generator)
    real = LossMethod(network, recipe, cross_entropy)
    with reading(train.batches(128, generator)) as batches:
        real.step(next(batches), None)
    assert len(made.samples["loss"]) == len(split.train), "all of it is still held"
    yield "network"


PARTS = {"driver": driver, "trial": trial}


def anonymous_mb() -> float:
    """Return what this process has in memory that is not mapped from a file."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("RssAnon"))


def child(part: str, rows: int, storage: Path) -> None:
    """Run a part in this process, and print its peaks."""
    peak, ended = [anonymous_mb()], threading.Event()

    def look() -> None:
        while not ended.wait(0.02):
            peak[0] = max(peak[0], anonymous_mb())

    watcher = threading.Thread(target=look)
    watcher.start()
    started = time.perf_counter()
    found = {}
    for name in PARTS[part](rows, storage):
        resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        seconds = time.perf_counter() - started
        found[name] = {"anonymous_mb": peak[0], "resident_mb": resident, "seconds": seconds}
    ended.set()
    watcher.join()
    sys.stdout.write(json.dumps(found) + "\n")


def measured(part: str, rows: int, storage: Path, threads: int) -> dict[str, dict[str, float]]:
    """Run a part in a process of its own; return its peaks, by what was measured."""
    words = ["--child", part, "--rows", str(rows), "--storage", str(storage)]
    found = subprocess.run(
        [sys.executable, "-m", __spec__.name, *words, "--threads", str(threads)],
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    values: dict[str, dict[str, float]] = json.loads(found.stdout)
    return values


def main() -> None:
    """Measure both parts at both sizes, in turn, and append a row for each part."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--child", choices=PARTS)
    parser.add_argument("--rows", type=int)
    parser.add_argument("--storage", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    if given.child:
        child(given.child, given.rows, given.storage)
        return
    seen: dict[tuple[str, int], list[dict[str, float]]] = {}
    for _ in range(given.repeats):
        for rows in SIZES:
            with tempfile.TemporaryDirectory() as storage:
                for part in PARTS:
                    found = measured(part, rows, Path(storage), given.threads)
                    for name, values in found.items():
                        seen.setdefault((name, rows), []).append(values)
    append([row(name, given.repeats, seen) for name in ("driver", "trial", "network")])


def row(
    part: str, repeats: int, seen: dict[tuple[str, int], list[dict[str, float]]]
) -> dict[str, object]:
    """Return the row of a part: medians, and the least and greatest ratio of its pairs."""
    result: dict[str, object] = {"benchmark": "streamed_memory", "part": part, "n": repeats}
    small, large = (seen[part, rows] for rows in SIZES)
    for name in ("anonymous_mb", "resident_mb"):
        pairs = [b[name] / a[name] for a, b in zip(small, large, strict=True)]
        result[f"{name}_of_{SIZES[0]}"] = round(statistics.median(a[name] for a in small), 1)
        result[f"{name}_of_{SIZES[1]}"] = round(statistics.median(b[name] for b in large), 1)
        result[f"{name}_ratio"] = round(statistics.median(pairs), 3)
        result[f"{name}_ratio_least"] = round(min(pairs), 3)
        result[f"{name}_ratio_most"] = round(max(pairs), 3)
    result["seconds"] = round(statistics.median(b["seconds"] for b in large), 1)
    return result


if __name__ == "__main__":
    main()
