"""The data path of a probe's epoch against a DataLoader with PIL augmentation.

Claims, on CIFAR-sized uint8 images, with a pass that visits every sample once, augmented (reflected
by 4, cropped, mirrored, normalised):
  1. the images of an epoch are made many times faster by `ResidentSet`, in batches, than one by one
     by torchvision's transforms on PIL images, with no workers and with two;
  2. a whole epoch of the probe, which also trains, gains what the classifier leaves to be gained.

    python -m benchmarks.training.data_path --pairs 5 --threads 2 --models resnet8
    python -m benchmarks.training.data_path --pairs 3 --models resnet32 --samples 1500

Each ratio is the median, with quartiles, over back-to-back pairs in one process; both sides run the
same steps of the same classifier. Workers are kept from one epoch to the next. Rows are appended to
benchmarks/results/data_path.csv. tests/data/test_resident.py shows that both make the same images
of the same draws.
"""

import argparse
from collections import deque
from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset
from torchvision import transforms

from benchmarks.timing import append, quartiles, seconds
from curvetune import models
from curvetune.batch import Batch
from curvetune.config import ProbeConfig
from curvetune.data.cifar import MEAN, STD
from curvetune.data.sets.resident import ResidentSet
from curvetune.data.source import Dataset, Images
from curvetune.methods.cross_entropy import cross_entropy
from curvetune.methods.shared.objective import LossMethod
from curvetune.training.engine import prepare

WARM_UP = 1  # pairs; starts the workers
Pass = Callable[[], Iterator[Batch]]  # the batches of an epoch


class PilImages(TorchDataset[tuple[Tensor, int, int]]):
    """CIFAR as torchvision gives it: an array from which each image is made for itself."""

    def __init__(self, x: NDArray[np.uint8], y: NDArray[np.int64]) -> None:
        self._x = np.ascontiguousarray(x.transpose(0, 2, 3, 1))
        self._y = y.tolist()
        self._transform = transforms.Compose(
            [
                transforms.RandomCrop(x.shape[-1], padding=4, padding_mode="reflect"),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize([m / 255 for m in MEAN], [s / 255 for s in STD]),
            ]
        )

    def __len__(self) -> int:
        return len(self._y)

    def __getitem__(self, index: int) -> tuple[Tensor, int, int]:
        return self._transform(Image.fromarray(self._x[index])), self._y[index], index


def random_images(samples: int) -> Images:
    """Return noise with labels."""
    generator = np.random.default_rng(0)
    x = generator.integers(256, size=(samples, 3, 32, 32), dtype=np.uint8)
    return Images(x, generator.integers(10, size=samples))


def resident(images: Images, batch_size: int, device: torch.device) -> Pass:
    """Return what makes an epoch's batches with curvetune."""
    facts = Dataset("noise", images, images, ("",) * 10, MEAN, STD, pad=4, flip=True)
    train, generator = (
        ResidentSet(np.asarray(images.x), images.y, facts, device),
        torch.Generator(device),
    )
    return lambda: train.batches(batch_size, generator)


def loader(images: Images, batch_size: int, workers: int, device: torch.device) -> Pass:
    """Return what makes an epoch's batches with a DataLoader."""
    batches = DataLoader(
        PilImages(np.asarray(images.x), images.y),
        batch_size,
        shuffle=True,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=device.type == "cuda",
    )
    return lambda: (Batch(*(t.to(device, non_blocking=True) for t in batch)) for batch in batches)


def epoch(model: str, batches: Pass, samples: int, device: torch.device) -> Callable[[], object]:
    """Return a whole epoch of a probe: a step for each batch, and the loss of each sample kept."""
    generator = torch.Generator().manual_seed(0)
    net = models.build(model, 10, generator=generator)
    net = net.to(device).to(memory_format=torch.channels_last)
    method = LossMethod(net, ProbeConfig(), cross_entropy)
    losses = torch.zeros(samples, device=device)

    def run() -> None:
        for batch in batches():
            losses[batch.index] = method.step(batch, None)["loss"]

    return run


def images_only(batches: Pass) -> Callable[[], object]:
    """Return an epoch that makes the batches and does nothing with them."""
    return lambda: deque(batches(), maxlen=0)


def measure(
    what: str, workers: int, batch_size: int, options: argparse.Namespace, device: torch.device
) -> dict[str, object]:
    """Return the row of one comparison; `what` is the name of a classifier, or "images only"."""
    images = random_images(options.samples)
    ours = resident(images, batch_size, device)
    theirs = loader(images, batch_size, workers, device)
    fast, slow = (
        images_only(batches)
        if what == "images only"
        else epoch(what, batches, options.samples, device)
        for batches in (ours, theirs)
    )
    pairs = [(seconds(slow), seconds(fast)) for _ in range(WARM_UP + options.pairs)][WARM_UP:]
    low, middle, high = quartiles([theirs_s / ours_s for theirs_s, ours_s in pairs])
    slow_s, fast_s = (quartiles(values)[1] for values in zip(*pairs, strict=True))
    print(
        f"{what:11} batch {batch_size:3}, {workers} workers: {middle:6.2f}x ({low:.2f} to "
        f"{high:.2f}), n {len(pairs)}; {1e6 * fast_s / options.samples:7.1f} against "
        f"{1e6 * slow_s / options.samples:7.1f} µs a sample",
        flush=True,
    )
    return {
        "benchmark": "data_path",
        "fast": f"{what}, resident",
        "slow": f"{what}, DataLoader with PIL, {workers} workers",
        "batch_size": batch_size,
        "samples": options.samples,
        "ratio": f"{middle:.3f}",
        "lower_quartile": f"{low:.3f}",
        "upper_quartile": f"{high:.3f}",
        "n": len(pairs),
        "fast_s": f"{fast_s:.4f}",
        "slow_s": f"{slow_s:.4f}",
    }


def main() -> None:
    """Measure everything and append the rows, each as soon as it is known."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=5, help="at least 2")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--samples", type=int, default=6000)
    parser.add_argument("--models", nargs="*", default=["resnet8", "resnet32"])
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    prepare(device)
    for what in ("images only", *options.models):
        for batch_size in (128, 16):
            for workers in (0, 2):
                append([measure(what, workers, batch_size, options, device)])


if __name__ == "__main__":
    main()
