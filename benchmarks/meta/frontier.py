"""Accuracy against time on real images: what the ways to make CurveNet cheaper cost and save.

    python -m benchmarks.meta.frontier run --data-dir DATA --storage DIR --profile fast
    python -m benchmarks.meta.frontier run --data-dir DATA --storage DIR --set update=lag-1
    python -m benchmarks.meta.frontier draw

`run` trains CurveNet's cells of a space (`cifar10_mini`: two noise rates, three seeds) with their
probes in this process, one thread, and appends a row for each to results/frontier.csv: accuracy of
the last epoch, wall and processor seconds of both stages. What the storage has already is not run
again, and gets no row: its time is not known. `draw` makes the picture of docs/performance.md,
docs/pictures/frontier-light.svg and -dark.svg, from that file: accuracy against processor seconds,
over the cells that every way in it has. Rows without seconds are of cells that were resumed, or
whose probe another way had made already; these are not drawn.
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
        self._probes = False
        self._wall, self._last = time.perf_counter(), time.process_time()

    def __call__(self, event: Row) -> None:
        """Add what passed since the last event to the stage of this one."""
        now = time.process_time()
        self._probes |= event["stage"] == "probe"
        stage = "probe" if event["stage"] == "stored" else event["stage"]
        self.processor[stage] = self.processor.get(stage, 0.0) + now - self._last
        self._last = now

    def row(self) -> Row:
        """Return the seconds so far."""
        stages = {f"{name}_processor_s": f"{s:.1f}" for name, s in self.processor.items()}
        if not self._probes:  # a cell without its probe is no cell's time
            return {"processor_s": "", "wall_s": "", **stages}
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


def common(rows: Sequence[Row]) -> list[tuple[str, str]]:
    """Return noise rate and seed of the cells that every way has."""
    ways = {row["way"] for row in rows}
    found: dict[tuple[str, str], set[str]] = {}
    for row in rows:
        found.setdefault((row["noise_rate"], row["seed"]), set()).add(row["way"])
    return sorted(cell for cell, of in found.items() if of == ways)


def points(rows: Sequence[Row]) -> dict[str, tuple[float, float | None, float]]:
    """Return the mean accuracy, its standard deviation and the seconds of each way."""
    found = {}
    for way in dict.fromkeys(str(row["way"]) for row in rows):
        of_way = [row for row in rows if row["way"] == way]
        accuracies = [float(row["accuracy"]) for row in of_way]
        spread = statistics.stdev(accuracies) if len(accuracies) > 1 else None
        seconds = statistics.fmean(float(row["processor_s"]) for row in of_way)
        found[way] = statistics.fmean(accuracies), spread, seconds
    return found


def draw() -> None:
    """Draw the picture, light and dark, of the cells that every way has."""
    with (RESULTS / "frontier.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["processor_s"]]
    cells = common(rows)
    found = points([row for row in rows if (row["noise_rate"], row["seed"]) in cells])
    for way, (accuracy, _, seconds) in found.items():
        print(f"{way:45} {accuracy:.2f} %, {seconds:.0f} s, n {len(cells)}")
    said = "; ".join(f"noise {rate}, seed {seed}" for rate, seed in cells)
    for name, context in (("light", nullcontext()), ("dark", in_the_dark())):
        with context:
            figure = accuracy_against_cost(found, "one thread of an AMD EPYC", f"{SPACE}, {said}")
            figure.axes[0].set_ylabel("accuracy, %")
            figure.axes[0].set_xlabel("processor seconds of a cell, its probe included")
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
