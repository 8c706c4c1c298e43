"""Runs the cells of a plan until a time, and makes lines of results of them."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from curvetune.data import Dataset, Source
from curvetune.data.people.cells import with_digests, with_labels
from curvetune.errors import ConfigError
from curvetune.grids.labels import method_labels, setting_of, setting_text
from curvetune.offline.lines import FILE, add_lines, import_lines, read_lines, result_line
from curvetune.offline.slices import Tally, run_slice
from curvetune.offline.workers import Slice
from curvetune.places import Places
from curvetune.planning.again import made_of
from curvetune.planning.plan import Plan, PlannedCell, build_plan, cell_json
from curvetune.planning.selection import Selection, selected_space
from curvetune.planning.space import Space
from curvetune.store import CellStore, CurveStore

RESERVE_S = 20.0  # of a limited time is for what comes after the cells, and for a late epoch
LEAST_SHARE = 0.1  # or this share of it, if that is less

Say = Callable[[str], None]


@dataclass(frozen=True)
class RunOptions:
    """How cells are run; `seconds` are of the whole command, `started` is of `time.monotonic`."""

    device: str
    workers: int
    seconds: float
    started: float
    checkpoint_every: int = 20
    lines: Path | None = None


def find_images(selection: Selection, data_dir: Path | None) -> tuple[Source, Space]:
    """Return where the images of the selected cells come from, and these cells.

    Raises:
        ConfigError: the selection is not right.
        DataError: the cells are about labels of people that are not there.
    """
    space = selected_space(selection)
    images = Places(data_dir=None, storage=Path()).source(space.cells[0].data)
    return images, replace(space, cells=with_labels(space.cells, images, data_dir))


def make_plan(
    space: Space,
    digest: str,
    storage: Path,
    command: str,
    *,
    selection: Selection | None = None,
    data_dir: Path | None = None,
) -> Plan:
    """Return what is to be run, and record it as a grid of the storage.

    Args:
        space: whose cells have the digests of people's labels, where they are about such.
        command: what runs, as it can be typed again; kept with the grid.
        selection: that the space comes from, and where its images are; kept too.
    """
    cells, curves = CellStore(storage), CurveStore(storage)
    plan = build_plan(
        space,
        digest,
        is_done=lambda cell_id: cells.result(cell_id) is not None,
        has_probe=curves.has,
    )
    entries = [cell_json(cell) for cell in plan.cells]
    made = made_of(space, data_dir, "fail", selection)
    record = {"cells": entries, "command": command, "data_digest": digest, "made": made}
    cells.write_grid(plan.name, record)
    return plan


def read_in(selection: Selection, file: Path, storage: Path, command: str) -> str:
    """Make the lines of `file` results of the storage, and a grid of what is selected.

    Returns:
        what was new, in words.

    Raises:
        ConfigError: a line is no result, there are none, or they are of several data sets.
    """
    lines = read_lines(file)
    if not lines:
        raise ConfigError(f"{file}: there are no results in it; give a {FILE} with a line of each")
    digests = sorted({line["data_digest"] for line in lines})
    if len(digests) != 1:
        raise ConfigError(
            f"{file}: its lines are about {len(digests)} sets of data ({digests}); "
            f"allowed is one: put those of each into a file and a storage of its own"
        )
    new = import_lines(CellStore(storage), lines)
    space = selected_space(selection)
    space = replace(space, cells=with_digests(space.cells, _people(lines)))
    plan = make_plan(space, digests[0], storage, command, selection=selection)
    counts = plan.counts()
    return (
        f"{new} of {len(lines)} results are new; {plan.name}: {counts['cells_done']} of "
        f"{counts['cells_total']} cells are done: curvetune report {plan.name} --storage {storage}"
    )


def _people(lines: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return which labels of people the lines are about: of each kind, their digest."""
    biases = [line["config"]["bias"] for line in lines]
    return {b["noise"]: b["labels_digest"] for b in biases if b.get("labels_digest")}


def run(
    plan: Plan, load: Callable[[], Dataset], options: RunOptions, storage: Path, tell: Say
) -> Tally:
    """Run what is left of the plan; every finished cell is a line at once.

    Args:
        load: returns the images, from `find_images`.
        tell: is given a line of text whenever something happened to a cell.
    """
    store, file = CellStore(storage), options.lines or storage / FILE
    finished = [result_line(store, cell.cell_id) for cell in plan.cells if cell.done]
    add_lines(file, [line for line in finished if line is not None])
    done = len(finished)
    labels = method_labels([cell.config.model_dump(mode="json") for cell in plan.cells])
    names = dict(zip((cell.cell_id for cell in plan.cells), labels, strict=True))

    def say(what: str, cell: PlannedCell) -> None:
        nonlocal done
        if what == "done" and (line := result_line(store, cell.cell_id)) is not None:
            add_lines(file, [line])
            done += 1
            parts = ", ".join(f"{stage} {s:.0f} s" for stage, s in line["seconds"].items() if s)
            what = f"done {done}/{len(plan.cells)}: {line['accuracy']:.2f} % in {parts}"
        passed = time.monotonic() - options.started
        tell(f"{passed:6.0f} s  {names[cell.cell_id]}, {_setting(cell)}: {what}")

    reserve = min(RESERVE_S, LEAST_SHARE * options.seconds)
    deadline = options.started + options.seconds - reserve
    if not plan.left or time.monotonic() >= deadline:
        return Tally()
    slice_ = Slice(
        storage=storage,
        digest=plan.digest,
        device=options.device,
        workers=options.workers,
        checkpoint_every=options.checkpoint_every,
        started=options.started,
        deadline=deadline,
        end=deadline + reserve / 2,
    )
    return run_slice(plan, load, slice_, say)


def _setting(cell: PlannedCell) -> str:
    setting = setting_text(setting_of(cell.config.model_dump(mode="json")))
    return f"{setting}, seed {cell.config.seed} ({cell.cell_id})"
