"""Random resized crops of a batch of photographs, one by one on a CPU, against other ways.

Claims, of 64 images of noise, for parts as they are drawn for training:
  1. PyTorch's kernel for uint8, image by image, is several times faster than two products with
     matrices (what a GPU gets), and than `grid_sample`, which does not even antialias;
  2. without antialiasing pixels are off, the more so the smaller the crop is beside the image.

    python -m benchmarks.training.crops --pairs 9 --threads 1

Each ratio is the median, with quartiles, over back-to-back pairs in one process. Rows are appended
to benchmarks/results/crops.csv. tests/data/test_photographs.py shows that the first two agree.
"""

import argparse
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.timing import append, quartiles, seconds
from curvetune.data.augment.resized import ResizedCrop, by_matrices
from curvetune.training.engine import prepare

BATCH, WARM_UP = 64, 2
SIZES = ((128, 112), (256, 224), (256, 112))  # of the images, of the crop


def sampled(images: Tensor, boxes: Tensor, size: int) -> Tensor:
    """Return parts of images, (B, C, size, size), by `grid_sample`: without antialiasing."""
    top, left, height, width = boxes.float()
    count, channels, rows, columns = images.shape
    theta = torch.zeros(count, 2, 3)
    theta[:, 0, 0], theta[:, 0, 2] = width / columns, (2 * left + width) / columns - 1
    theta[:, 1, 1], theta[:, 1, 2] = height / rows, (2 * top + height) / rows - 1
    grid = F.affine_grid(theta, [count, channels, size, size], align_corners=False)
    found = F.grid_sample(images.float(), grid, padding_mode="border", align_corners=False)
    return found.round().to(torch.uint8)


def compared(image: int, size: int, pairs: int) -> list[dict[str, object]]:
    """Return a row for each other way."""
    draw = np.random.default_rng(0)
    x = torch.from_numpy(draw.integers(256, size=(BATCH, 3, image, image), dtype=np.uint8))
    crop, index = ResizedCrop(size, (image, image), flip=False), torch.arange(BATCH)
    draws = crop.draw(BATCH, torch.Generator().manual_seed(0))
    boxes = torch.stack(list(draws[:4]))
    ways: dict[str, Callable[[], Tensor]] = {
        "matrices": lambda: by_matrices(x, index, boxes, size),
        "grid_sample": lambda: sampled(x, boxes, size),
    }

    def ours() -> Tensor:
        return crop.augmented(x, index, draws)

    rows: list[dict[str, object]] = []
    for name, theirs in ways.items():
        timed = [(seconds(theirs), seconds(ours)) for _ in range(WARM_UP + pairs)][WARM_UP:]
        low, middle, high = quartiles([slow / fast for slow, fast in timed])
        slow_s, fast_s = (quartiles(values)[1] for values in zip(*timed, strict=True))
        error = float((theirs().float() - ours().float()).abs().mean())
        print(
            f"{image} to {size}: {name} {middle:.2f}x ({low:.2f} to {high:.2f}), n {pairs}; "
            f"{1e3 * fast_s / BATCH:.2f} against {1e3 * slow_s / BATCH:.2f} ms an image; pixels "
            f"{error:.2f} apart",
            flush=True,
        )
        rows.append(
            {
                "benchmark": "crops",
                "fast": "one by one",
                "slow": name,
                "image_size": image,
                "crop_size": size,
                "batch_size": BATCH,
                "ratio": f"{middle:.3f}",
                "lower_quartile": f"{low:.3f}",
                "upper_quartile": f"{high:.3f}",
                "n": pairs,
                "fast_s": f"{fast_s:.5f}",
                "slow_s": f"{slow_s:.5f}",
                "mean_difference": f"{error:.3f}",
            }
        )
    return rows


def main() -> None:
    """Measure every size and append its rows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=9, help="at least 2")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    prepare(torch.device("cpu"))
    for image, size in SIZES:
        append(compared(image, size, options.pairs))


if __name__ == "__main__":
    main()
