"""Python's way to what the commands do: plan a grid and run it, or train one cell here.

    import curvetune

    plan = curvetune.plan("digits", methods=["cross-entropy", "curvenet"], seeds=3)
    results = plan.run()              # through Ray, as `curvetune grid digits`
    results.table("digits")

    cell = curvetune.train("curvenet", data="digits", imbalance=10, noise_rate=0.4)
    cell.accuracy

What is wrong is a `ConfigError` with the words of the command line.
"""

import json
import shlex
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curvetune.errors import StoppedError
from curvetune.places import Places, Telling
from curvetune.planning.plan import Plan
from curvetune.planning.resources import CHECKPOINT_EVERY, HANG_AFTER_S
from curvetune.planning.selection import Selection, parse_selection
from curvetune.settings import Settings

if TYPE_CHECKING:
    from curvetune.results import Results

Names = str | Iterable[str]
Paths = str | Path | Iterable[str | Path]
Numbers = str | int | Iterable[int]


@dataclass(frozen=True)
class GridPlan:
    """What a grid comes to: which cells are done, and which are to be run."""

    plan: Plan
    selection: Selection
    places: Places

    @property
    def name(self) -> str:
        """The grid's name, by which `Results` knows it."""
        return self.plan.name

    @property
    def command(self) -> str:
        """The same as a command."""
        chosen, words = self.selection, ["curvetune", "grid", self.selection.space]
        if chosen.methods:
            words += ["--methods", ",".join(chosen.methods)]
        if chosen.seeds:
            words += ["--seeds", ",".join(map(str, chosen.seeds))]
        if chosen.profile != "release":
            words += ["--profile", chosen.profile]
        for key, value in chosen.fixed.items():
            words += ["--set", f"{key}={value}"]
        for plugin in chosen.plugins:
            words += ["--plugin", plugin]
        if chosen.name:
            words += ["--name", chosen.name]
        if self.places.data_dir is not None:
            words += ["--data-dir", str(self.places.data_dir)]
        return shlex.join([*words, "--storage", str(self.places.storage)])

    def __len__(self) -> int:
        return len(self.plan.cells)

    def __repr__(self) -> str:
        from curvetune.run import what_starts

        return f"GridPlan({what_starts(self.plan)})"

    def _repr_html_(self) -> str:
        """Show a row for each bias setting in a notebook."""
        from curvetune.report.pages.templates import render
        from curvetune.report.sheet import Sheet
        from curvetune.status.plan_table import planned_bias

        rows: dict[tuple[str, str], list[bool]] = {}
        for cell in self.plan.cells:
            rows.setdefault(planned_bias(self.plan, cell), []).append(cell.done)
        sheet = Sheet(
            repr(self),
            tuple((name,) for name in ("imbalance", "noise", "cells done", "to run")),
            tuple(
                (*setting, str(sum(done)), str(len(done) - sum(done)))
                for setting, done in rows.items()
            ),
        )
        return render("table.html.j2", sheet=sheet)

    def run(
        self,
        *,
        address: str | None = None,
        gpus_per_trial: float | str | None = None,
        cpus_per_trial: float | None = None,
        max_concurrent: int | None = None,
        checkpoint_every: int = CHECKPOINT_EVERY,
        hang_after: float = HANG_AFTER_S,
        data_cpus: int | None = None,
        engine: str = "graphs",
        tracking_uri: str | None = None,
        notify: str | None = None,
        log_models: bool = False,
        progress: bool = True,
    ) -> "Results":
        """Run what is not done through Ray, and return the results; a failed cell raises nothing.

        The arguments are the options of `curvetune grid`.

        Args:
            progress: show on stderr, or in the notebook, how it comes along.

        Raises:
            StoppedError: a signal stopped it; run it again to go on.
            CurvetuneError: as errors.py says.
        """
        from curvetune.planning.options import parse_launch
        from curvetune.results import Results
        from curvetune.run import make_plan, run_plan
        from curvetune.system.terminal import plain_console

        options = parse_launch(
            address,
            None if gpus_per_trial is None else str(gpus_per_trial),
            cpus_per_trial,
            max_concurrent,
            checkpoint_every,
            hang_after,
            data_cpus,
            engine=engine,
        )
        tell = _tell if progress else _ignore
        _, outcome = run_plan(
            lambda: make_plan(self.selection, self.places, _ignore),
            self.places,
            Telling(tracking_uri, notify, log_models),
            options,
            command=self.command,
            tell=tell,
            console=plain_console(stderr=True) if progress else None,
        )
        if not outcome.finished:
            raise StoppedError(
                f"{self.name}: stopped, {len(outcome.lacking)} of {len(self)} cells are not done; "
                f"run it again to go on"
            )
        if outcome.lacking:
            tell(f"{len(outcome.lacking)} of {len(self)} cells failed: `curvetune status` says why")
        return Results(self.places.storage)


@dataclass(frozen=True)
class TrainedCell:
    """One cell that is done."""

    cell_id: str
    accuracy: float  # of the last epoch, in percent
    result: Mapping[str, Any]  # all that its DONE.json holds
    storage: Path

    def __repr__(self) -> str:
        return f"TrainedCell({self.cell_id}: {self.accuracy:.2f} % in {str(self.storage)!r})"

    @property
    def results(self) -> "Results":
        """The storage that it is in: its history, curves, weights and suspects."""
        from curvetune.results import Results

        return Results(self.storage)


def plan(
    space: str | Path,
    *,
    methods: Names = (),
    seeds: Numbers = (),
    set: Mapping[str, Any] | None = None,
    profile: str = "release",
    data_dir: Path | str | None = None,
    storage: Path | str | None = None,
    on_bad: str = "fail",
    plugins: Paths = (),
    name: str = "",
) -> GridPlan:
    """Return what a grid comes to, given what the storage has. Nothing is started or changed.

    Args:
        space: a built-in search space, or the path of a .yaml file.
        methods: instead of the space's own; "all" is every method.
        seeds: instead of the space's own: [0, 1, 2], or "0-4"; a number is so many, from 0 on.
        set: options that are fixed, {"imbalance": 20}; a list is an axis.
        profile: release, paper, fast or smoke.
        data_dir: folder with the images; else CURVETUNE_DATA_DIR, else they are downloaded.
        storage: folder of the results; else CURVETUNE_STORAGE, else ./curvetune-results.
        on_bad: images of a folder that cannot be used: skip or fail.
        plugins: files or modules with methods, networks and more of your own (docs/plugins.md).
        name: what the grid is called; else as the space.

    Raises:
        ConfigError: a name, key, value or path is wrong, or the data is.
    """
    from curvetune.run import make_plan

    selection = _selection(space, methods, seeds, profile, set or {}, _words(plugins), name)
    places = _places(data_dir, storage, on_bad)
    return GridPlan(make_plan(selection, places, _tell), selection, places)


def train(
    method: str = "curvenet",
    *,
    data: str = "digits",
    imbalance: float = 1,
    noise: str = "uniform_prop",
    noise_rate: float = 0.0,
    seed: int = 0,
    set: Mapping[str, Any] | None = None,
    profile: str = "release",
    data_dir: Path | str | None = None,
    storage: Path | str | None = None,
    device: str | None = None,
    plugins: Paths = (),
) -> TrainedCell:
    """Train one cell in this process, without Ray, and return its result.

    A cell that is done already is returned at once, and one that was stopped is resumed.

    Args:
        method: as `curvetune methods` lists them.
        data: digits, cifar10, cifar100 or folder.
        set: any other options, {"model.name": "resnet8", "probe.epochs": 50}.
        device: cuda or cpu; a GPU if there is one.
        plugins: files or modules with methods, networks and more of your own (docs/plugins.md).

    Raises:
        ConfigError: a name, key, value or path is wrong, or the data is.
        DivergedError: a loss is no finite number any more.
    """
    import torch

    from curvetune.cell import run_cell
    from curvetune.data.people.cells import with_labels
    from curvetune.planning.space import cell_of

    config = cell_of(
        {"data.name": data, "bias.imbalance": imbalance, "bias.noise": noise}
        | {"bias.noise_rate": noise_rate, "method.name": method, "seed": seed},
        profile=profile,
        fixed=_texts(set or {}),
        plugins=_words(plugins),
    )
    places = _places(data_dir, storage, "fail")
    source = places.source(config.data)
    on = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    from curvetune.store import open_storage

    folder = open_storage(places.storage)
    digest, dataset = source.digest(places.data_dir), source.load(places.data_dir)
    (config,) = with_labels([config], source, places.data_dir)
    done = run_cell(config, digest, dataset, folder, device=on)
    return TrainedCell(config.cell_id(digest), float(done["accuracy"]), done, folder)


def _selection(
    space: str | Path,
    methods: Names,
    seeds: Numbers,
    profile: str,
    fixed: Mapping[str, Any],
    plugins: tuple[str, ...] = (),
    name: str = "",
) -> Selection:
    names = methods if isinstance(methods, str) else ",".join(methods)
    if isinstance(seeds, int):
        seeds = range(seeds)
    numbers = seeds if isinstance(seeds, str) else ",".join(map(str, seeds))
    texts = [f"{key}={value}" for key, value in _texts(fixed).items()]
    return parse_selection(str(space), names, numbers, profile, texts, plugins, name)


def _words(names: Paths) -> tuple[str, ...]:
    return (str(names),) if isinstance(names, str | Path) else tuple(map(str, names))


def _texts(fixed: Mapping[str, Any]) -> dict[str, str]:
    """Return options with their values as YAML text, of which JSON is a part."""
    return {key: v if isinstance(v, str) else json.dumps(v) for key, v in fixed.items()}


def _places(data_dir: Path | str | None, storage: Path | str | None, on_bad: str) -> Places:
    from curvetune.store.files import reading  # inside: it imports NumPy

    settings = Settings()
    return Places(
        Path(data_dir) if data_dir is not None else settings.data_dir,
        reading(storage if storage is not None else settings.storage),
        on_bad,
    )


def _tell(line: str) -> None:
    sys.stderr.write(f"{line}\n")


def _ignore(line: str) -> None:
    pass
