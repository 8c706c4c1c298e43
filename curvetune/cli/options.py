"""The options that several commands share, and what their texts mean.

Nothing heavy is imported here: every `--help` pays for it.
"""

from pathlib import Path
from typing import Annotated

import typer

WHAT, WHERE, HOW = "What is run", "Where it is", "How it runs"

Space = Annotated[
    str,
    typer.Argument(metavar="SPACE", help="A built-in search space, or the path of a .yaml file."),
]
Methods = Annotated[
    str,
    typer.Option(
        "--methods",
        metavar="A,B",
        help="Methods instead of the space's own; `all` is every method.",
        rich_help_panel=WHAT,
    ),
]
Seeds = Annotated[
    str,
    typer.Option(
        "--seeds",
        metavar="0,1|0-4",
        help="Seeds instead of the space's own.",
        rich_help_panel=WHAT,
    ),
]
Profile = Annotated[
    str,
    typer.Option(
        "--profile",
        metavar="NAME",
        help="release: as the paper's code. paper: as its text. fast: a quarter of the time, and "
        "less accurate. smoke: three epochs, to see that it runs.",
        rich_help_panel=WHAT,
    ),
]
Fixed = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Set an option, e.g. probe.epochs=50; `curvetune options` lists them. VALUE is YAML. "
        "A list is an axis: imbalance=[1,20] gives cells of both. Where an option takes nothing "
        "but lists, as milestones=[10,15], it is one value, and [[10],[15]] is an axis. Can be "
        "given again.",
        rich_help_panel=WHAT,
    ),
]
Plugins = Annotated[
    list[str] | None,
    typer.Option(
        "--plugin",
        metavar="FILE.py|MODULE",
        help="Methods, networks, sources or transforms of your own (docs/plugins.md). Repeatable.",
        rich_help_panel=WHAT,
    ),
]
Name = Annotated[
    str,
    typer.Option(
        "--name",
        metavar="NAME",
        help="What the grid is called, for `report` and the others; else as the space.",
        rich_help_panel=WHAT,
    ),
]
Select = Annotated[
    str, typer.Option("--select", metavar="WHICH", help="last, last10 or best, as in report.")
]
OnlyLast = Annotated[
    bool,
    typer.Option(
        "--only-last",
        help="Only the cells of the newest command for the grid; the same as GRID@last.",
    ),
]
DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        help="Folder with the images; else CURVETUNE_DATA_DIR, else they are downloaded.",
        rich_help_panel=WHERE,
    ),
]
StoredDataDir = Annotated[  # of a command that only looks, and so downloads nothing
    Path | None,
    typer.Option(
        "--data-dir",
        help="Folder with the images; else CURVETUNE_DATA_DIR, else those downloaded before.",
        rich_help_panel=WHERE,
    ),
]
OnBad = Annotated[
    str,
    typer.Option(
        "--on-bad",
        metavar="skip|fail",
        help="Images of your own that cannot be used: leave them out, or stop and name them.",
        rich_help_panel=WHERE,
    ),
]
Storage = Annotated[
    Path | None,
    typer.Option(
        "--storage",
        help="Folder of the results; else CURVETUNE_STORAGE, else ./curvetune-results.",
        rich_help_panel=WHERE,
    ),
]
TrackingUri = Annotated[
    str | None,
    typer.Option(
        "--tracking-uri",
        metavar="URI",
        envvar="MLFLOW_TRACKING_URI",
        help="MLflow server; else a database in the storage.",
        rich_help_panel=WHERE,
    ),
]
Address = Annotated[
    str | None,
    typer.Option(
        "--address",
        metavar="HOST:PORT",
        help="A running Ray cluster (`auto` finds one here, `local` starts Ray on this machine); "
        "else RAY_ADDRESS, else Ray starts on this machine.",
        rich_help_panel=WHERE,
    ),
]
Insecure = Annotated[
    bool,
    typer.Option(
        "--insecure",
        help="Use a cluster without a token, where whoever reaches it can run programs.",
        rich_help_panel=WHERE,
    ),
]
Notify = Annotated[
    str | None,
    typer.Option(
        "--notify",
        metavar="URL",
        help="Address that gets a small JSON text when the grid ends, fails or is interrupted.",
        rich_help_panel=WHERE,
    ),
]
GpusPerTrial = Annotated[
    str | None,
    typer.Option(
        "--gpus-per-trial",
        metavar="NUMBER|auto",
        help="GPUs of each cell: 1 where there are any. 0.5 lets two cells share one. `auto` "
        "measures how many fit. 0 trains on the CPU.",
        rich_help_panel=HOW,
    ),
]
CpusPerTrial = Annotated[
    float | None,
    typer.Option(
        "--cpus-per-trial",
        help="CPU cores of each cell: 1, or less if more cells fit on the GPUs than on the cores.",
        rich_help_panel=HOW,
    ),
]
MaxConcurrent = Annotated[
    int | None,
    typer.Option(
        "--max-concurrent",
        min=1,
        help="Cells at once; as many as fit unless given.",
        rich_help_panel=HOW,
    ),
]
DataCpus = Annotated[
    int | None,
    typer.Option(
        "--data-cpus",
        min=0,
        help="CPU cores kept free of cells for Ray Data, which decodes streamed images: those of "
        "nodes without room for a cell unless given. 0 lets each cell decode for itself.",
        rich_help_panel=HOW,
    ),
]
Accelerator = Annotated[
    str | None,
    typer.Option(
        "--accelerator",
        metavar="KIND",
        help="Run cells on this kind of GPU alone, as Ray names it: H100, A100, L4, T4 …",
        rich_help_panel=HOW,
    ),
]
Wait = Annotated[
    str | None,
    typer.Option(
        "--wait",
        metavar="TIME",
        help="How long a cluster may have no room for a cell: 30m unless given, 0 for not at all.",
        rich_help_panel=HOW,
    ),
]
CheckpointEvery = Annotated[
    int,
    typer.Option(
        "--checkpoint-every", min=1, help="Epochs between checkpoints.", rich_help_panel=HOW
    ),
]
EngineKind = Annotated[
    str,
    typer.Option(
        "--engine",
        metavar="ENGINE",
        help="How steps are run: graphs (CUDA graphs; on a CPU, recorded steps) or eager. The "
        "numbers are the same.",
        rich_help_panel=HOW,
    ),
]
HangAfter = Annotated[
    float,
    typer.Option(
        "--hang-after",
        metavar="SECONDS",
        min=1,
        help="End a cell that finishes no epoch in this time.",
        rich_help_panel=HOW,
    ),
]
Device = Annotated[
    str | None,
    typer.Option(
        "--device",
        metavar="KIND",
        help="Kind of device to price, e.g. 'NVIDIA H200', as results name it; else that of "
        "this machine.",
        rich_help_panel=HOW,
    ),
]
Calibrate = Annotated[
    bool,
    typer.Option(
        "--calibrate",
        help="Measure here, in short runs, what no earlier cell has told. The storage keeps it.",
        rich_help_panel=HOW,
    ),
]
LogModels = Annotated[
    bool,
    typer.Option(
        "--log-models",
        help="Also keep the final classifier of each cell in MLflow, as a safetensors file.",
        rich_help_panel=HOW,
    ),
]
Html = Annotated[
    Path | None,
    typer.Option(
        "--html",
        metavar="OUT",
        help="Write one page to the file OUT; it needs no network and runs no script.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="JSON on stdout instead of tables.")]


def data_dir_or_default(data_dir: Path | None) -> Path | None:
    """Return the folder of the data: the option, else the environment, else None."""
    from curvetune.settings import Settings

    return data_dir if data_dir is not None else Settings().data_dir


def storage_or_default(storage: Path | None) -> Path:
    """Return the folder of the results: the option, else the environment, else the default.

    Of an address in an object store it is the mirror.
    """
    from curvetune.settings import Settings
    from curvetune.store.remote.address import is_address

    found = storage if storage is not None else Settings().storage
    if not is_address(found):
        return found
    from curvetune.store.files import open_storage  # inside: it imports NumPy

    return open_storage(found)


def part_of(grid: str, *, only_last: bool) -> str:
    """Return what a grid is called, of which only the newest command's cells may be meant."""
    return f"{grid.partition('@')[0]}@last" if only_last else grid


def load_plugins(names: list[str] | None) -> None:
    """Let a command know what the given plugins register.

    Raises:
        ConfigError: one cannot be loaded.
    """
    if names:
        from curvetune.plugins.load import load_plugins as load

        load(names)
