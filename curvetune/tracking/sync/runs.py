"""The runs that a tracker shows of a grid: what each is found by, and what it says of itself."""

from collections.abc import Sequence

from pydantic import ValidationError

from curvetune.config import read_config
from curvetune.data.duplicates import Copies, words
from curvetune.grids.cells import Cell, Grid
from curvetune.grids.labels import setting_parts, setting_text
from curvetune.tracking.base import (
    CELL_TAG,
    GRID_TAG,
    LABEL_TAG,
    LEVEL_TAG,
    METHOD_TAG,
    DataSpec,
    Run,
    RunSpec,
)
from curvetune.tracking.sync.points import cell_params, own_params

SOURCE = {"mlflow.source.name": "curvetune", "mlflow.source.type": "LOCAL"}
SCHEMA_VERSION = "1"
COLOUR_TAG = "mlflow.runColor"  # of a run in MLflow's charts and lists
OF_A_GRID = ("data", "model", "probe_epochs", "allocate_epochs")
VARIED = ("imbalance", "noise", "noise_rate", "seed")
LONGEST_DIGEST = 36  # characters, in MLflow
SHOWN = 100  # settings in a profile


def grid_spec(grid: Grid) -> RunSpec:
    """Return the run of a grid."""
    return RunSpec(
        experiment=grid.name,
        key=(GRID_TAG, grid.name),
        name=grid.title,
        parent=None,
        tags={
            **SOURCE,
            LEVEL_TAG: "grid",
            "curvetune.command": grid.command,
            "curvetune.data_digest": grid.digest,
            "curvetune.schema_version": SCHEMA_VERSION,
            **profile_tag(grid),
            **_varied(grid),
        },
        params=_common(grid),
        began=_began(grid.cells),
    )


def method_spec(grid: Grid, label: str, cells: Sequence[Cell], parent: Run, colour: str) -> RunSpec:
    """Return the run of a method, under that of the grid; `colour` is that of our figures."""
    return RunSpec(
        experiment=grid.name,
        key=(METHOD_TAG, label),
        name=label,
        parent=parent.run_id,
        tags={**SOURCE, LEVEL_TAG: "method", COLOUR_TAG: colour, **profile_tag(grid)},
        params={"method": cells[0].name},
        began=_began(cells),
    )


def cell_spec(grid: Grid, cell: Cell, parent: Run, colour: str) -> RunSpec:
    """Return the run of a cell, under that of its method."""
    where = setting_parts(cell.setting, grid.settings)
    return RunSpec(
        experiment=grid.name,
        key=(CELL_TAG, cell.cell_id),
        name=", ".join([cell.label, *where, f"seed {cell.seed}"]),
        parent=parent.run_id,
        tags={
            **SOURCE,
            LEVEL_TAG: "cell",
            LABEL_TAG: cell.label,
            COLOUR_TAG: colour,
            "curvetune.probe_id": cell.probe_id or "",
            **profile_tag(grid),
            "curvetune.data_digest": grid.digest,
        },
        params=cell_params(cell.config) | own_params(cell.setting),
        began=_began([cell]),
    )


def profile_tag(grid: Grid) -> dict[str, str]:
    """Return the tag that says which profile a run is of."""
    return {"curvetune.profile": ",".join(grid.profiles)} if grid.profiles else {}


def grid_data(grid: Grid, copies: Copies | None = None) -> DataSpec:
    """Return the data of a grid, before any bias.

    Args:
        copies: what it has more than once.
    """
    names = dict.fromkeys(setting.data for setting in grid.settings)
    biases = [", ".join(setting_parts(setting, grid.settings)) for setting in grid.settings]
    return DataSpec(
        name=", ".join(names),
        digest=grid.digest[:LONGEST_DIGEST],
        source=f"curvetune:{'+'.join(names)}",
        profile={
            "content_sha256": grid.digest,
            "bias_settings": biases[:SHOWN],
            **({} if copies is None else {"copies": words(copies) or ["none"]}),
        },
    )


def cell_data(grid: Grid, cell: Cell) -> DataSpec | None:
    """Return the biased data of a cell; None if another version of curvetune wrote its config."""
    try:
        config = read_config(cell.config)
    except ValidationError:
        return None
    bias, setting = config.bias, cell.setting
    profile: dict[str, object] = {
        "imbalance": bias.imbalance,
        "noise": bias.noise,
        "noise_rate": cell.noise_rate,
        **({"own_imbalance": setting.own_imbalance} if setting.own_imbalance else {}),
        "seed": config.seed,
        "content_sha256": grid.digest,
    }
    return DataSpec(
        name=f"{setting.data}, {setting_text(setting)}",
        digest=config.split_id(grid.digest),  # of another seed it is another draw
        source=f"curvetune:{setting.data}",
        profile=profile,
    )


def _common(grid: Grid) -> dict[str, str]:
    """Return the params that all cells of a grid share, without those of its methods."""
    params = [cell_params(cell.config) for cell in grid.cells]
    return {
        key: params[0][key]
        for key in OF_A_GRID
        if params and len({each[key] for each in params}) == 1
    }


def _varied(grid: Grid) -> dict[str, str]:
    """Return in tags what a wider grid has more of: MLflow never changes a param."""
    params = [cell_params(cell.config) for cell in grid.cells]
    values = {key: dict.fromkeys(each[key] for each in params) for key in VARIED}
    methods = {"curvetune.methods": ", ".join(grid.methods())}
    return methods | {f"curvetune.{key}": ", ".join(found) for key, found in values.items()}


def _began(cells: Sequence[Cell]) -> float:
    """Return when the first of `cells` began, in Unix seconds; 0 if none has."""
    times = [
        (cell.finished or 0.0) - (cell.seconds or 0.0)
        if cell.activity is None
        else cell.activity.began
        for cell in cells
        if cell.result is not None or cell.activity is not None
    ]
    return min(times, default=0.0)
