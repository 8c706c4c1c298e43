"""What larger batches in the probe's cyclic phase do to the curves, and what they save.

Claim: batch 128 instead of 16 ranks the samples as batch 16 with another seed does, and separates
wrong labels as well, in a part of the time. The released probe spends 7 of 8 steps in its cyclic
phase, whose batch is 16 (jiangwenj02/CurveNet-V1, processor/recognition_cycle.py).

    python -m benchmarks.meta.cyclic_batch digits_all --threads 1
    python -m benchmarks.meta.cyclic_batch cifar10_mini --data-dir DATA --threads 1

For each setting with wrong labels and each seed of the space: a reference probe with batch 16;
another with the same labels but other initial weights and order, which is as alike as curves can
be; and batch 128 with the learning rates of the cyclic phase multiplied by 1, √8 and 8. Compared
with the reference: Spearman's rank correlation, over samples, of the mean loss over the epochs that
CurveNet reads; and the AUROC of that mean for wrong labels.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from benchmarks.timing import append
from curvetune import data, models
from curvetune.config import CellConfig, CurveNetConfig, ProbeConfig
from curvetune.data.sets.resident import ResidentSet
from curvetune.data.source import Dataset
from curvetune.data.splits import Split
from curvetune.methods.curvenet import kept
from curvetune.planning.space import load_space
from curvetune.probe.run import run_probe
from curvetune.seeding import torch_stream
from curvetune.training.engine import prepare
from curvetune.training.split import load_split

REFERENCE, LARGE = 16, 128
PROBE_ID = "0" * 16
DEVICE = torch.device("cpu")


@dataclass(frozen=True)
class Variant:
    """A way to run the cyclic phase."""

    name: str
    batch: int
    factor: float = 1.0  # of the learning rates
    seed: int = 0  # added to the cell's, for initial weights and order

    def of(self, probe: ProbeConfig) -> ProbeConfig:
        """Return a probe's recipe in this way."""
        rates = {
            "cyclic_high": probe.cyclic_high * self.factor,
            "cyclic_low": probe.cyclic_low * self.factor,
        }
        return probe.model_copy(update={"cyclic_batch_size": self.batch, **rates})


VARIANTS = (
    Variant("batch 16, another seed", REFERENCE, seed=1000),
    Variant("batch 128, rates x 1", LARGE),
    Variant("batch 128, rates x 2.83", LARGE, 8**0.5),
    Variant("batch 128, rates x 8", LARGE, 8.0),
)


def cells_of(space: str, seeds: int) -> Iterator[CellConfig]:
    """Yield CurveNet's first cell of each setting with wrong labels and each of the seeds."""
    seen = set()
    for cell in load_space(space).cells:
        key = (cell.bias, cell.seed)
        is_asked = cell.bias.noise_rate > 0 and cell.seed < seeds
        if isinstance(cell.method, CurveNetConfig) and is_asked and key not in seen:
            seen.add(key)
            yield cell


def train(
    cell: CellConfig, variant: Variant, split: Split, dataset: Dataset
) -> tuple[NDArray[np.float32], float]:
    """Return the curves, (N, T), of a probe and the seconds of its cyclic phase."""
    train_set = ResidentSet(dataset.train.x[split.train], split.y, dataset, DEVICE)
    seed, seconds = cell.seed + variant.seed, []
    model = models.build(
        cell.model.name,
        dataset.num_classes,
        dataset.train.x.shape[1],
        init=cell.model.init,
        generator=torch_stream(seed, "probe.model"),
    )
    started = time.perf_counter()

    def on_epoch(row: dict[str, Any]) -> None:
        if row["epoch"] >= cell.probe.cyclic_start:
            seconds.append(row["seconds"])

    with tempfile.TemporaryDirectory() as storage:
        curves = run_probe(
            variant.of(cell.probe),
            model.to(memory_format=torch.channels_last),
            train_set,
            torch_stream(seed, "probe.train", DEVICE),
            storage=Path(storage),
            probe_id=PROBE_ID,
            info={},
            checkpoint_every=cell.probe.epochs,
            on_epoch=on_epoch,
        )
    print(f"  {variant.name}: {time.perf_counter() - started:.0f} s", flush=True)
    return curves, sum(seconds)


def compare(space: str, cell: CellConfig, dataset: Dataset, digest: str) -> list[dict[str, object]]:
    """Return a row for each variant, printed as it is made."""
    with tempfile.TemporaryDirectory() as storage:
        split = load_split(cell, digest, dataset, Path(storage))
    method = cell.method
    assert isinstance(method, CurveNetConfig)

    def mean_loss(curves: NDArray[np.float32]) -> NDArray[np.float64]:
        read = kept(torch.tensor(curves), method.removed_losses, method.drop_last)
        return read.double().mean(dim=1).numpy()

    where = f"imbalance {cell.bias.imbalance:g}, noise {cell.bias.noise_rate:g}, seed {cell.seed}"
    print(f"{space}: {where}", flush=True)
    curves, seconds = train(cell, Variant("batch 16", REFERENCE), split, dataset)
    reference = mean_loss(curves)
    auroc = roc_auc_score(split.wrong, reference)
    print(f"  batch 16: AUROC {auroc:.4f}")
    rows: list[dict[str, object]] = []
    for variant in VARIANTS:
        curves, took = train(cell, variant, split, dataset)
        mean = mean_loss(curves)
        row = {
            "benchmark": "cyclic_batch",
            "case": f"{space}, {where}: {variant.name}",
            "n": 1,
            "ratio": f"{seconds / took:.3f}",
            "rank_correlation": f"{spearmanr(reference, mean).statistic:.4f}",
            "auroc": f"{roc_auc_score(split.wrong, mean):.4f}",
            "auroc_reference": f"{auroc:.4f}",
        }
        print(
            f"  {variant.name}: rank correlation {row['rank_correlation']}, AUROC {row['auroc']}, "
            f"cyclic phase {row['ratio']}x as fast",
            flush=True,
        )
        rows.append(row)
    return rows


def main() -> None:
    """Run everything and append the rows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("space")
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    prepare(DEVICE)
    cells = list(cells_of(options.space, options.seeds))
    dataset = data.load(cells[0].data.name, options.data_dir)
    digest = data.digest(cells[0].data.name, options.data_dir)
    append([row for cell in cells for row in compare(options.space, cell, dataset, digest)])


if __name__ == "__main__":
    main()
