"""Accuracy against time on real images: what the ways to make CurveNet cheaper cost and save.

    python -m benchmarks.meta.frontier run --data-dir DATA --storage DIR --profile fast
    python -m benchmarks.meta.frontier run --data-dir DATA --storage DIR --set update=lag-1
    python -m benchmarks.meta.frontier draw

`run` trains CurveNet's cells of a space (`cifar10_mini`: two noise rates, three seeds) with their
probes in this process, one thread, and appends a row for each to results/frontier.csv: accuracy of
the last epoch, wall and processor seconds of both stages. What the storage has already is not run
again, and gets no row: its time is not known. `draw` makes the picture of docs/performance.md,
docs/pictures/frontier-light.svg and -dark.svg, from that file: MA over the noise rates, with its
standard deviation over seeds, against processor seconds.
"""

import argparse
import csv
import statistics
import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch

from benchmarks.timing import RESULTS, append
from curvetune.cell import run_cell
from curvetune.config import CellConfig, CurveNetConfig
from curvetune.places import Places
from curvetune.planning.space import load_space
from curvetune.report.figures.grids import accuracy_against_cost
from curvetune.report.figures.style import file_of, in_the_dark
from curvetune.store import CellStore

SPACE = "cifar10_mini"
PICTURES = Path(__file__).parents[2] / "docs" / "pictures"
CPU = torch.device("cpu")
Row = dict[str, Any]


class Clock:
    """Seconds of each stage, from the events of a cell."""

    def __init__(self) -> None:
        self.processor: dict[str, float] = {}
        self._wall, self._last = time.perf_counter(), time.process_time()

    def __call__(self, event: Row) -> None:
        """Add what passed since the last event to the stage of this one."""
        now = time.process_time()
        stage = "probe" if event["stage"] == "stored" else event["stage"]
        self.processor[stage] = self.processor.get(stage, 0.0) + now - self._last
        self._last = now

    def row(self) -> Row:
        """Return the seconds so far."""
        stages = {f"{name}_processor_s": f"{s:.1f}" for name, s in self.processor.items()}
        total = sum(self.processor.values())
        wall = time.perf_counter() - self._wall
        return {"processor_s": f"{total:.1f}", "wall_s": f"{wall:.1f}", **stages}


def run(cell: CellConfig, way: str, places: Places) -> Row | None:
    """Run a cell; return its row, printed, or None if it is done already."""
    source = places.source(cell.data)
    dataset, digest = source.load(places.data_dir), source.digest(places.data_dir)
    if CellStore(places.storage).result(cell.cell_id(digest)) is not None:
        return None
    clock = Clock()
    result = run_cell(cell, digest, dataset, places.storage, device=CPU, on_event=clock)
    row = {
        "benchmark": "frontier",
        "way": way,
        "noise_rate": cell.bias.noise_rate,
        "seed": cell.seed,
        "accuracy": f"{result['accuracy']:.2f}",
        "accuracy_last10": f"{result['accuracy_last10']:.2f}",
        **clock.row(),
        "n": 1,
    }
    print(row, flush=True)
    return row


def cells_of(profile: str, fixed: dict[str, str], seeds: Sequence[int]) -> list[CellConfig]:
    """Return CurveNet's cells, seed by seed."""
    cells = load_space(SPACE, profile=profile, fixed=fixed, seeds=seeds).cells
    ours = [cell for cell in cells if isinstance(cell.method, CurveNetConfig)]
    return sorted(ours, key=lambda cell: cell.seed)


def points(rows: Sequence[Row]) -> dict[str, tuple[float, float | None, float]]:
    """Return MA, its standard deviation and the seconds of each way that has every noise rate.

    A seed counts in the standard deviation if it has them all.
    """
    rates = {row["noise_rate"] for row in rows}
    found = {}
    for way in dict.fromkeys(str(row["way"]) for row in rows):
        of_way = [row for row in rows if row["way"] == way]
        by_rate = {rate: [r for r in of_way if r["noise_rate"] == rate] for rate in rates}
        if not all(by_rate.values()):
            continue
        ma = statistics.fmean(
            statistics.fmean(float(r["accuracy"]) for r in some) for some in by_rate.values()
        )
        by_seed: dict[str, list[float]] = {}
        for row in of_way:
            by_seed.setdefault(row["seed"], []).append(float(row["accuracy"]))
        whole = [statistics.fmean(v) for v in by_seed.values() if len(v) == len(rates)]
        spread = statistics.stdev(whole) if len(whole) > 1 else None
        seconds = statistics.fmean(float(row["processor_s"]) for row in of_way)
        found[way] = ma, spread, seconds
    return found


def draw() -> None:
    """Draw the picture, light and dark."""
    with (RESULTS / "frontier.csv").open(newline="", encoding="utf-8") as file:
        found = points(list(csv.DictReader(file)))
    for way, (ma, spread, seconds) in found.items():
        print(f"{way:40} MA {ma:.2f} ± {spread or float('nan'):.2f}, {seconds:.0f} s")
    for name, context in (("light", nullcontext()), ("dark", in_the_dark())):
        with context:
            figure = accuracy_against_cost(found, "one thread of an AMD EPYC", f"CurveNet, {SPACE}")
            (PICTURES / f"frontier-{name}.svg").write_bytes(file_of(figure, "svg"))


def main() -> None:
    """Run cells, or draw."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("what", choices=("run", "draw"))
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--storage", type=Path)
    parser.add_argument("--profile", default="release")
    parser.add_argument("--set", dest="fixed", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--noise-rates", type=float, nargs="+", default=[0.0, 0.4])
    options = parser.parse_args()
    if options.what == "draw":
        draw()
        return
    torch.set_num_threads(1)
    places = Places(options.data_dir, options.storage)
    fixed = dict(pair.split("=", 1) for pair in options.fixed)
    way = " ".join([options.profile, *options.fixed])
    for cell in cells_of(options.profile, fixed, options.seeds):
        if cell.bias.noise_rate in options.noise_rates:
            row = run(cell, way, places)
            append([row] if row else [])


if __name__ == "__main__":
    main()
