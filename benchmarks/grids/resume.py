"""How long a finished grid of 1,000 cells takes to resume: the same command, run once more.

Claim: half of the processor time that it took at commit aa53525, and no GPU touched. `plan`,
`status` and `report` of the grid, and `--help`, are measured beside it. The storage is made up,
with files of the sizes that ResNet-8 on digits, or ResNet-32 on CIFAR-10, leave; every checksum is
real and is checked. `mlflow.db` is up to date, as after a grid: the first three commands, which
make it, are not counted.

    python -m benchmarks.grids.resume                      1,000 cells as of `grid digits`
    python -m benchmarks.grids.resume --against TREE       in pairs with another checkout
    python -m benchmarks.grids.resume --case cifar10       as of ResNet-32 on CIFAR-10 (2.4 GB)
    python -m benchmarks.grids.resume --profile            where a plan and a report spend the time
"""

import argparse
import cProfile
import json
import os
import pstats
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.timing import append, quartiles
from curvetune import data
from curvetune.config import CellConfig
from curvetune.planning.price.disk import MODEL_BYTES
from curvetune.planning.space import load_space
from curvetune.store import CellStore, CurveStore
from curvetune.store.arrays import save_arrays
from curvetune.store.files import write_json
from curvetune.store.history import write_rows

HERE = Path(__file__).parents[2]
SPACE = """
base:
  data: {{name: digits}}
  model: {{name: {model}}}
  probe: {{epochs: {epochs}, cyclic_start: 6, half_period: 1}}
  allocate: {{epochs: {epochs}, milestones: [7, 10], warmup: 1}}
grid:
  imbalance: [1, 2, 5, 10, 20]
  noise_rate: [0.0, 0.2, 0.4, 0.6]
  seed: [{seeds}]
  method: [{{name: cross-entropy}}, {{name: curvenet, removed_losses: 2}}]
"""
PER_SEED = 40  # cells
COMMANDS = {
    "grid": ("grid", "{space}", "--storage", "{storage}", "--json"),
    "plan": ("plan", "{space}", "--storage", "{storage}", "--json"),
    "status": ("status", "space", "--storage", "{storage}"),
    "report": ("report", "space", "--storage", "{storage}"),
    "--help": ("--help",),
}


@dataclass(frozen=True)
class Case:
    """What a cell leaves: the sizes of its files."""

    name: str
    model: str
    samples: int
    epochs: int


CASES = (
    Case("digits", "resnet8", 1197, 12),
    Case("cifar10", "resnet32", 45_000, 200),
)


@dataclass(frozen=True)
class Took:
    """What a command took, and what it printed."""

    wall_s: float
    cpu_s: float
    printed: str


def fill(root: Path, cells: Sequence[CellConfig], digest: str, case: Case) -> None:
    """Let every cell be done, and every probe that one reads."""
    random = np.random.default_rng(0)
    for cell in cells:
        store, cell_id, probe_id = CellStore(root), cell.cell_id(digest), cell.probe_id(digest)
        folder = store.folder(cell_id)
        write_json(folder / "config.json", cell.model_dump(mode="json") | {"data_digest": digest})
        write_rows(folder / "history.jsonl", rows(case, accuracy=90.0, weight_gap=0.25))
        write_arrays(folder / "model.safetensors", random, MODEL_BYTES[case.model])
        write_arrays(folder / "samples.safetensors", random, 8 * case.samples)
        result = {
            "probe_id": probe_id,
            "accuracy": 90.0,
            "accuracy_last10": 89.0,
            "accuracy_best": 91.0,
            "per_class_accuracy": [90.0] * 10,
            "weight_gap": 0.25,
            "num_samples": case.samples,
            "seconds": {"probe": 0.0, "allocate": 60.0},
            "finished": rows(case)[-1]["time"],
            "device": "made up",
            "versions": {},
            "commit": None,
        }
        store.publish(cell_id, result)
        if probe_id is not None and not CurveStore(root).has(probe_id):
            write_probe(root, probe_id, cell, digest, case)


def write_probe(root: Path, probe_id: str, cell: CellConfig, digest: str, case: Case) -> None:
    """Publish a probe; its curves are small, since a finished grid does not read them."""
    store = CurveStore(root)
    write_rows(store.folder(probe_id) / "history.jsonl", rows(case))
    info = {
        "identity": cell.probe_identity(digest),
        "seconds": 60.0,
        "finished": rows(case)[-1]["time"],
        "device": "made up",
    }
    store.write(probe_id, np.ones((8, case.epochs), np.float32), info)


def rows(case: Case, **numbers: float) -> list[dict[str, float]]:
    """Return a history as long as a real one."""
    return [
        {
            "epoch": epoch,
            "lr": 0.1,
            "loss": 1.2345678901234567 / (epoch + 1),
            **numbers,
            "time": 1_700_000_000.1234567 + epoch,
            "seconds": 0.9876543210987654,
        }
        for epoch in range(case.epochs)
    ]


def write_arrays(path: Path, random: np.random.Generator, size: int) -> None:
    """Write so many bytes of noise, as a classifier's weights are."""
    save_arrays(path, {"x": random.integers(256, size=size, dtype=np.uint8)}, durable=False)


def command(words: Sequence[str], tree: Path) -> Took:
    """Run a command of a checkout, whose modules are compiled already, as installed ones are."""
    left_out = ("PYTHONDONTWRITEBYTECODE", "PYTHONPATH")
    env = {key: value for key, value in os.environ.items() if key not in left_out}
    env |= {"PYTHONPATH": str(tree), "CUDA_VISIBLE_DEVICES": ""}
    start, cpu = time.perf_counter(), processor_seconds()
    run = [sys.executable, "-c", "from curvetune.cli import main; main()", *words]
    done = subprocess.run(run, env=env, capture_output=True, text=True, check=False, cwd=tree)
    if done.returncode:
        raise SystemExit(f"{' '.join(run)} ended with {done.returncode}:\n{done.stderr}")
    return Took(time.perf_counter() - start, processor_seconds() - cpu, done.stdout)


def processor_seconds() -> float:
    """Return the processor time of finished commands, for which a busy machine does not count."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def measure(
    case: Case, num_cells: int, repeats: int, folder: Path, against: Path | None
) -> list[dict[str, object]]:
    """Return a row for each command.

    Args:
        against: another checkout, whose commands run in turn with ours.
    """
    trees = [HERE, *([] if against is None else [against])]
    storages = [folder / "storage", folder / "storage-of-the-other"]
    if against is not None and not storages[1].exists():  # they may differ in what they note there
        shutil.copytree(storages[0], storages[1])
    for tree, storage in zip(trees, storages, strict=False):
        grid = ["grid", str(folder / "space.yaml")]
        for first in (grid, ["sync", "space"], grid):  # so that MLflow has all of it
            wall_s = command([*first, "--storage", str(storage)], tree).wall_s
            print(f"{case.name}: at first {first[0]} took {wall_s:.1f} s", flush=True)
    result = []
    for name, words in COMMANDS.items():
        ours, theirs = in_turn(words, repeats, folder, trees, storages)
        if "--json" in words:
            answer = json.loads(ours[0].printed)
            assert len(answer["cells"]) == num_cells
            assert answer.get("cells_to_run", 0) == 0
        row = row_of(f"{name} {case.name}", num_cells, ours)
        print(f"{row['case']}: processor {row['processor_s']} s, n {repeats}", flush=True)
        if against is not None:
            found = [one.cpu_s / other.cpu_s for one, other in zip(ours, theirs, strict=True)]
            low, middle, high = quartiles(found)
            other = statistics.median(one.cpu_s for one in theirs)
            print(f"  {middle:.3f} ({low:.3f} to {high:.3f}) of {against.name}'s {other:.3f} s")
            row |= {"against": commit_of(against), "against_processor_s": f"{other:.3f}"}
            row |= {
                "ratio": f"{middle:.3f}",
                "ratio_low": f"{low:.3f}",
                "ratio_high": f"{high:.3f}",
            }
        result.append(row)
    return result


def in_turn(
    words: Sequence[str],
    repeats: int,
    folder: Path,
    trees: Sequence[Path],
    storages: Sequence[Path],
) -> tuple[list[Took], list[Took]]:
    """Run a command of one or two checkouts by turns, each once more before it counts.

    Args:
        storages: of each checkout, in which all cells are done.
    """
    took: tuple[list[Took], list[Took]] = ([], [])
    for _ in range(repeats + 1):
        for found, tree, storage in zip(took, trees, storages, strict=False):
            places = {"space": folder / "space.yaml", "storage": storage}
            found.append(command([word.format(**places) for word in words], tree))
    return took[0][1:], took[1][1:]


def row_of(name: str, num_cells: int, took: Sequence[Took]) -> dict[str, object]:
    """Return what is kept of a command."""
    low, middle, high = quartiles([one.wall_s for one in took])
    first, half, third = quartiles([one.cpu_s for one in took])
    return {
        "benchmark": "resume",
        "case": name,
        "samples": num_cells,
        "wall_s": f"{middle:.3f}",
        "lower_quartile": f"{low:.3f}",
        "upper_quartile": f"{high:.3f}",
        "processor_s": f"{half:.3f}",
        "processor_low": f"{first:.3f}",
        "processor_high": f"{third:.3f}",
        "n": len(took),
    }


def commit_of(tree: Path) -> str:
    """Return the commit of a checkout."""
    words = ["git", "-C", str(tree), "rev-parse", "--short=12", "HEAD"]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()


def profile(folder: Path) -> None:
    """Print where planning, and the report, spend their time."""
    from curvetune.places import Places
    from curvetune.planning.selection import parse_selection
    from curvetune.report.tables.main import report_json
    from curvetune.run import make_plan

    space, storage = folder / "space.yaml", folder / "storage"
    selection = parse_selection(str(space), "", "", "release", [])
    for name, act in (
        ("make_plan", lambda: make_plan(selection, Places(None, storage), print)),
        ("report_json", lambda: report_json(storage, "space")),
    ):
        with cProfile.Profile() as profiler:
            act()
        print(name)
        pstats.Stats(profiler).sort_stats("cumulative").print_stats(25)


def main() -> None:
    """Make the storage, measure and append the rows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--case", choices=[case.name for case in CASES], default="digits")
    parser.add_argument("--cells", type=int, default=1000, help=f"a multiple of {PER_SEED}")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where the storage is made, and stays")
    parser.add_argument("--against", type=Path, help="a checkout to compare with, pair by pair")
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--dry", action="store_true", help="append no rows to the results")
    options = parser.parse_args()
    case = next(case for case in CASES if case.name == options.case)
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        seeds = ", ".join(map(str, range(options.cells // PER_SEED)))
        folder.mkdir(parents=True, exist_ok=True)
        text = SPACE.format(model=case.model, epochs=case.epochs, seeds=seeds)
        (folder / "space.yaml").write_text(text)
        if not (folder / "storage").exists():
            cells = load_space(str(folder / "space.yaml")).cells
            fill(folder / "storage", cells, data.digest("digits", None), case)
        found = measure(case, options.cells, options.repeats, folder, options.against)
        if options.profile:
            profile(folder)
        if not options.dry:
            append(found)


if __name__ == "__main__":
    main()
