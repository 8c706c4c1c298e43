"""Images a second into the training loop, streamed, against a DataLoader and a resident set.

Claims, on two cores:
  1. photographs of about 500×375 pixels, resized to 256, cropped to 224, mirrored and normalised:
     decoded anew in each epoch, they come at least as fast as from a DataLoader with two workers
     that does the same; from shards, at least three times as fast;
  2. CIFAR's 32×32 images from shards come at least half as fast as those of a resident set.

    python -m benchmarks.data.image_stream --pairs 10 --data-dir ../shared/data
    python -m benchmarks.data.image_stream --pairs 5 --ray     # no claim: Ray Data beside threads

Threads are as in a trial with one CPU: one of PyTorch's, and as many that read as there are CPUs.
Each ratio is the median, with quartiles, over back-to-back epochs in one process. Files are in the
page cache, so it is the processors that are measured. Workers are kept from one epoch to the next.
Rows are appended to benchmarks/results/image_stream.csv. tests/data/stream/ shows that the pixels
are the same.
"""

import argparse
import logging
import os
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from pyarrow import parquet
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset
from torchvision import transforms

from benchmarks.data.photographs import Photographs, photographs
from benchmarks.timing import append, quartiles, seconds
from curvetune.data import cifar
from curvetune.data.augment import draw, mirror, normalise, random_crop, reflect_pad
from curvetune.data.pixels import Pixels, Positions
from curvetune.data.sets.resident import ResidentSet
from curvetune.data.source import Dataset, Images
from curvetune.data.stream import index
from curvetune.data.stream.own import MEAN, STD
from curvetune.data.tables.table import Table

WARM_UP = 1  # pairs; starts the workers
SIZE, CROP, BATCH = 256, 224, 32
CIFAR, CIFAR_BATCH = 10_000, 128  # images; of 50,000
CIFAR_MEAN_STD = (cifar.MEAN, cifar.STD)
Epoch = Callable[[], Iterator[Tensor]]


class PilPhotographs(TorchDataset[tuple[Tensor, int]]):
    """The files as torchvision gives them."""

    def __init__(self, files: Photographs) -> None:
        self._files = files
        self._transform = transforms.Compose(
            [
                transforms.Resize((SIZE, SIZE)),
                transforms.RandomCrop(CROP),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize([m / 255 for m in MEAN], [s / 255 for s in STD]),
            ]
        )

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        with Image.open(self._files.path(index)) as image:
            return self._transform(image.convert("RGB")), index


def loader(files: Photographs, workers: int) -> Epoch:
    """Return an epoch of a DataLoader."""
    batches = DataLoader(
        PilPhotographs(files), BATCH, shuffle=True, num_workers=workers, persistent_workers=True
    )
    return lambda: (x for x, _ in batches)


def streamed(pixels: Pixels) -> Epoch:
    """Return an epoch of what is read, cropped and mirrored in batches."""
    generator = torch.Generator().manual_seed(0)
    mean, std = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))

    def epoch() -> Iterator[Tensor]:
        order = torch.randperm(len(pixels), generator=generator).numpy()
        draws = torch.randint(SIZE - CROP + 1, (len(pixels), 2), generator=generator).tolist()
        flips = torch.rand(len(pixels), generator=generator) < 0.5
        place = 0
        for raw in pixels.read(order, BATCH):
            part = slice(place, place := place + len(raw))
            images = zip(torch.from_numpy(raw), draws[part], strict=True)
            x = torch.stack([one[:, y : y + CROP, x : x + CROP] for one, (y, x) in images])
            x = torch.where(flips[part, None, None, None], x.flip(-1), x)
            yield x.float().sub_(mean).div_(std)

    return epoch


def run(epoch: Epoch) -> Callable[[], object]:
    """Return an epoch whose batches are looked at and dropped."""
    return lambda: deque(epoch(), maxlen=0)


def measure(what: str, against: str, fast: Epoch, slow: Epoch, count: int, pairs: int) -> None:
    """Append the row of one comparison."""
    timed = [(seconds(run(slow)), seconds(run(fast))) for _ in range(WARM_UP + pairs)][WARM_UP:]
    low, middle, high = quartiles([slow_s / fast_s for slow_s, fast_s in timed])
    slow_s, fast_s = (quartiles(values)[1] for values in zip(*timed, strict=True))
    print(
        f"{what} against {against}: {middle:.2f}x ({low:.2f} to {high:.2f}), n {pairs}; "
        f"{count / fast_s:,.0f} against {count / slow_s:,.0f} images a second",
        flush=True,
    )
    append(
        [
            {
                "benchmark": "image_stream",
                "fast": what,
                "slow": against,
                "images": count,
                "ratio": f"{middle:.3f}",
                "lower_quartile": f"{low:.3f}",
                "upper_quartile": f"{high:.3f}",
                "n": pairs,
                "fast_per_s": f"{count / fast_s:.0f}",
                "slow_per_s": f"{count / slow_s:.0f}",
            }
        ]
    )


def measure_photographs(folder: Path, count: int, pairs: int) -> None:
    """Measure claim 1."""
    files = photographs(folder, count)
    slow = loader(files, 2)
    for what, gigabytes in (("decoded in each epoch", "0"), ("from shards", "100")):
        os.environ["CURVETUNE_CACHE_GB"] = gigabytes
        pixels = index(files.table(), SIZE, "fail").pixels
        name = f"photographs, {what}"
        measure(name, "DataLoader, 2 workers", streamed(pixels), slow, count, pairs)


def measure_ray(folder: Path, count: int, pairs: int) -> None:
    """Measure Ray Data with as many CPUs against threads, both decoding in each epoch."""
    import ray

    from curvetune.tune.images import RayPixels

    ray.init(
        address="local",
        num_cpus=os.cpu_count(),
        log_to_driver=False,
        include_dashboard=False,
        logging_level=logging.CRITICAL,
    )
    os.environ["CURVETUNE_CACHE_GB"] = "0"
    pixels = index(photographs(folder, count).table(), SIZE, "fail").pixels
    elsewhere = streamed(RayPixels(pixels, os.cpu_count() or 1))
    what = "photographs, decoded in each epoch"
    measure(f"{what} by Ray Data", f"{what} by threads", elsewhere, streamed(pixels), count, pairs)


class Rows:
    """Encoded images in memory, from the first Parquet file of CIFAR-10."""

    def __init__(self, data_dir: Path) -> None:
        path = data_dir / "cifar10" / "train-00000-of-00002.parquet"
        table = parquet.read_table(path).slice(0, CIFAR)
        self._contents = table["img"].combine_chunks().field("bytes").to_pylist()
        self.y = np.asarray(table["label"])

    def __len__(self) -> int:
        return len(self._contents)

    def name(self, position: int) -> str:
        return str(position)

    def suffix(self, position: int) -> str:
        return ""

    def read(self, positions: Positions) -> Sequence[bytes]:
        return [self._contents[k] for k in positions.tolist()]


def measure_cifar(data_dir: Path, pairs: int) -> None:
    """Measure claim 2."""
    rows = Rows(data_dir)
    table = Table(rows, len(rows), rows.y, tuple("0123456789"))
    pixels = index(table, 32, "fail").pixels
    images = Images(pixels[np.arange(len(pixels))], rows.y)
    facts = Dataset("cifar10", images, images, table.class_names, *CIFAR_MEAN_STD, pad=4, flip=True)
    whole = ResidentSet(pixels[np.arange(len(pixels))], rows.y, facts, torch.device("cpu"))
    generator = torch.Generator().manual_seed(0)
    mean, std = (torch.tensor(values)[:, None, None] for values in CIFAR_MEAN_STD)

    def resident() -> Iterator[Tensor]:
        return (batch.x for batch in whole.batches(CIFAR_BATCH, generator))

    def from_shards() -> Iterator[Tensor]:
        order = torch.randperm(len(pixels), generator=generator)
        draws = draw(len(pixels), 4, flip=True, generator=generator)
        place = 0
        for raw in pixels.read(order.numpy(), CIFAR_BATCH):
            top, left, mirrored = (d[place : place + len(raw)] for d in draws)
            place += len(raw)
            padded = torch.from_numpy(reflect_pad(raw, 4))
            x = random_crop(padded, torch.arange(len(raw)), top, left, 4)
            yield normalise(mirror(x, mirrored), mean, std)

    measure("CIFAR-10, from shards", "resident set", from_shards, resident, len(rows), pairs)


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=10, help="at least 2")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--data-dir", type=Path, help="has cifar10/ in Parquet, for claim 2")
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--ray", action="store_true", help="measure Ray Data alone")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["CURVETUNE_CACHE"] = str(folder / "cache")
        (folder / "images").mkdir()
        if options.ray:
            measure_ray(folder / "images", options.images, options.pairs)
            return
        measure_photographs(folder / "images", options.images, options.pairs)
        if options.data_dir is not None:
            measure_cifar(options.data_dir, options.pairs)


if __name__ == "__main__":
    main()
