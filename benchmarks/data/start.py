"""How long a command and a trial take until their first batch, of images that are decoded already.

Claims: a second look at 10,000 image files takes well under a second, and a trial on decoded images
starts less than 3 s later than one on resident digits.

    python -m benchmarks.data.start --repeats 5

Each time is of a process of its own: after the imports, which both have in common, until the first
batch is there. The median and the range are appended to benchmarks/results/stream_start.csv.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.data.photographs import photographs
from benchmarks.timing import append

STREAMED = """
import json, pickle, sys, time
from pathlib import Path
import numpy as np
from benchmarks.data.photographs import Photographs
from curvetune.data.stream import index
start = time.perf_counter()
found = index(Photographs(Path(sys.argv[1]), int(sys.argv[2])).table(), 64, "fail")
looked = time.perf_counter()
pixels = pickle.loads(pickle.dumps(found.pixels))
next(pixels.read(np.random.default_rng(0).permutation(len(pixels)), 128))
print(json.dumps([looked - start, time.perf_counter() - looked]))
"""
DIGITS = """
import json, time
import torch
from curvetune.data import digits
from curvetune.data.sets.resident import ResidentSet
start = time.perf_counter()
data = digits.load(None)
whole = ResidentSet(data.train.x, data.train.y, data, torch.device("cpu"))
next(whole.batches(128, torch.Generator()))
print(json.dumps([time.perf_counter() - start]))
"""


def timed(code: str, *words: str) -> list[float]:
    """Return the seconds that a process of its own tells."""
    command = [sys.executable, "-c", code, *words]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: list[float] = json.loads(done.stdout)
    return found


def main() -> None:
    """Measure and append one row."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--images", type=int, default=10_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        os.environ["CURVETUNE_CACHE"] = f"{name}/cache"
        images = Path(name, "images")
        images.mkdir()
        photographs(images, options.images, ((80, 60),))
        time.sleep(3)  # until the files' times tell a later change
        words = (str(images), str(options.images))
        first = timed(STREAMED, *words)
        pairs = [(timed(STREAMED, *words), timed(DIGITS)) for _ in range(options.repeats)]
    looks = [streamed[0] for streamed, _ in pairs]
    starts = [streamed[1] for streamed, _ in pairs]
    row = {
        "benchmark": "stream_start",
        "images": options.images,
        "n": options.repeats,
        "first_look_s": f"{first[0]:.2f}",
        "look_s": f"{statistics.median(looks):.3f}",
        "look_range": f"{min(looks):.3f} to {max(looks):.3f}",
        "first_batch_s": f"{statistics.median(starts):.3f}",
        "first_batch_range": f"{min(starts):.3f} to {max(starts):.3f}",
        "digits_s": f"{statistics.median(digits[0] for _, digits in pairs):.3f}",
    }
    print(row)
    append([row])


if __name__ == "__main__":
    main()
