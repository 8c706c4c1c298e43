"""How well a shorter probe ranks the samples: against the long one, and by which labels are wrong.

    python -m benchmarks.meta.short_probe cifar10_mini --data-dir DATA --storage DIR

Reads stored curves and trains nothing: those of CurveNet's cells with wrong labels, in profile
`release`. Shorter are its first epochs alone, its cyclic phase alone, and what profile `fast` makes
of the schedule, where the storage has it. Compared with the long probe: Spearman's rank
correlation, over samples, of the mean loss over the epochs that CurveNet reads, and of that loss
less the mean of the given class, which is nearer to what CurveNet reads. And the AUROC of both for
wrong labels. Each row is the mean over the seeds that are stored, with the least and the most. Rows
are appended to results/short_probe.csv.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from benchmarks.timing import append
from curvetune.config import CellConfig, CurveNetConfig
from curvetune.data.splits import Split
from curvetune.places import Places
from curvetune.planning.space import load_space
from curvetune.store.curves import CurveStore
from curvetune.training.split import load_split

FIRST = (6, 10, 12, 15, 20, 25, 30, 40)
Floats = NDArray[np.float64]
Found = dict[str, list[dict[str, float]]]  # of each variant, a dict for each seed


def cells_of(space: str, profile: str) -> Iterator[CellConfig]:
    """Yield CurveNet's cells with wrong labels."""
    for cell in load_space(space, profile=profile).cells:
        if isinstance(cell.method, CurveNetConfig) and cell.bias.noise_rate > 0:
            yield cell


def read(cell: CellConfig) -> slice:
    """Return which epochs CurveNet reads."""
    method = cell.method
    assert isinstance(method, CurveNetConfig)
    return slice(method.removed_losses, cell.probe.epochs - method.drop_last)


def variants(
    cell: CellConfig, fast: CellConfig, digest: str, storage: Path
) -> Iterator[tuple[str, Floats]]:
    """Yield the mean loss of each sample, (N,), of the long probe first, then of shorter ones."""
    store, probe_id = CurveStore(storage), cell.probe_id(digest)
    assert probe_id is not None
    if not store.has(probe_id):
        return
    curves = store.read(probe_id).astype(np.float64)
    span = read(cell)
    yield "long", curves[:, span].mean(axis=1)
    yield "its cyclic phase alone", curves[:, cell.probe.cyclic_start :].mean(axis=1)
    for epochs in FIRST:
        if epochs < cell.probe.epochs:
            last = epochs - (cell.probe.epochs - span.stop)
            yield f"its first {epochs} epochs", curves[:, span.start : last].mean(axis=1)
    probe_id = fast.probe_id(digest)
    assert probe_id is not None
    if store.has(probe_id):
        curves = store.read(probe_id).astype(np.float64)
        name = f"profile fast, {fast.probe.epochs} epochs"
        yield name, curves[:, read(fast)].mean(axis=1)


def within(values: Floats, y: NDArray[np.int64]) -> Floats:
    """Return values less the mean of their class."""
    means = np.array([values[y == k].mean() if (y == k).any() else 0.0 for k in range(y.max() + 1)])
    centred: Floats = values - means[y]
    return centred


def compare(split: Split, long: Floats, short: Floats) -> dict[str, float]:
    """Return the correlations with the long probe, and the AUROCs."""
    pairs = {"": (long, short), "_within": (within(long, split.y), within(short, split.y))}
    found = {}
    for name, (one, other) in pairs.items():
        found[f"rank_correlation{name}"] = float(spearmanr(one, other).statistic)
        found[f"auroc{name}"] = float(roc_auc_score(split.wrong, other))
    return found


def main() -> None:
    """Run everything and append the rows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("space")
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--storage", type=Path, required=True)
    options = parser.parse_args()
    found: Found = {}
    pairs = zip(cells_of(options.space, "release"), cells_of(options.space, "fast"), strict=True)
    places = Places(options.data_dir, options.storage)
    for cell, fast in pairs:
        source = places.source(cell.data)
        dataset, digest = source.load(places.data_dir), source.digest(places.data_dir)
        split = load_split(cell, digest, dataset, places.storage)
        long: Floats | None = None
        for name, mean in variants(cell, fast, digest, places.storage):
            long = mean if long is None else long
            found.setdefault(name, []).append(compare(split, long, mean))
    rows: list[dict[str, object]] = []
    for name, seeds in found.items():
        row: dict[str, object] = {
            "benchmark": "short_probe",
            "case": f"{options.space}: {name}",
            "n": len(seeds),
        }
        for key in seeds[0]:
            values = [one[key] for one in seeds]
            row[key] = f"{np.mean(values):.3f}"
            row[f"{key}_range"] = f"{min(values):.3f} to {max(values):.3f}"
        print(row)
        rows.append(row)
    append(rows)


if __name__ == "__main__":
    main()
