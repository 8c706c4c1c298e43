"""The options that several commands share, and what their texts mean.

Nothing heavy is imported here: every `--help` pays for it.
"""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from curvetune.errors import ConfigError

if TYPE_CHECKING:
    from curvetune.planning.resources import LaunchOptions

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
        help="release: as the paper's code; paper: as its text; fast: half the epochs; "
        "smoke: does it run.",
        rich_help_panel=WHAT,
    ),
]
Fixed = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Fix an option, e.g. imbalance=20 or probe.epochs=50; [1,20] is an axis. Repeatable.",
        rich_help_panel=WHAT,
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
OnBad = Annotated[
    str,
    typer.Option(
        "--on-bad",
        metavar="skip|fail",
        help="Images of a folder that cannot be used: leave them out, or stop and name them.",
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
        help="A running Ray cluster (`auto` finds one here); else Ray starts on this machine.",
        rich_help_panel=WHERE,
    ),
]
Notify = Annotated[
    str | None,
    typer.Option(
        "--notify",
        metavar="URL",
        help="Where to POST a small JSON when the grid ends, fails or is interrupted.",
        rich_help_panel=WHERE,
    ),
]
GpusPerTrial = Annotated[
    str | None,
    typer.Option(
        "--gpus-per-trial",
        metavar="NUMBER|auto",
        help="1 where there are GPUs; 0.5 lets two trials share one, `auto` as many as fit "
        "(measured first); 0 trains on the CPU.",
        rich_help_panel=HOW,
    ),
]
CpusPerTrial = Annotated[
    float | None,
    typer.Option("--cpus-per-trial", help="1 unless given.", rich_help_panel=HOW),
]
MaxConcurrent = Annotated[
    int | None,
    typer.Option(
        "--max-concurrent",
        min=1,
        help="Trials at once; as many as fit unless given.",
        rich_help_panel=HOW,
    ),
]
CheckpointEvery = Annotated[
    int,
    typer.Option(
        "--checkpoint-every", min=1, help="Epochs between checkpoints.", rich_help_panel=HOW
    ),
]
HangAfter = Annotated[
    float,
    typer.Option(
        "--hang-after",
        metavar="SECONDS",
        min=1,
        help="A cell in which no epoch ends for so long is ended.",
        rich_help_panel=HOW,
    ),
]
Device = Annotated[
    str | None,
    typer.Option(
        "--device",
        metavar="KIND",
        help="Kind of device to price, as results name it, e.g. 'NVIDIA H200'; else this "
        "machine's.",
        rich_help_panel=HOW,
    ),
]
Calibrate = Annotated[
    bool,
    typer.Option(
        "--calibrate",
        help="Measure here, in short runs, what no earlier cell did; kept in the storage.",
        rich_help_panel=HOW,
    ),
]
LogModels = Annotated[
    bool,
    typer.Option(
        "--log-models",
        help="Also keep the final classifier of each cell in MLflow (safetensors, no pickle).",
        rich_help_panel=HOW,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="JSON on stdout instead of tables.")]


def parse_launch(
    address: str | None,
    gpus_per_trial: str | None,
    cpus_per_trial: float | None,
    max_concurrent: int | None,
    checkpoint_every: int,
    hang_after: float,
) -> "LaunchOptions":
    """Return how trials run, refusing before Ray starts what Ray would refuse much later.

    Raises:
        ConfigError: a share of a device that cannot be had, or an address for another client.
    """
    gpus = parse_gpus(gpus_per_trial)
    check_share("--cpus-per-trial", cpus_per_trial, least=0.01)
    check_address(address)
    from curvetune.planning.resources import LaunchOptions

    return LaunchOptions(
        address, gpus, cpus_per_trial, max_concurrent, checkpoint_every, hang_after
    )


def check_address(address: str | None) -> None:
    """Refuse an address for another client than ours.

    Raises:
        ConfigError: it is one.
    """
    if address is not None and "://" in address:
        raise ConfigError(
            f"--address {address}: write host:port of the cluster's head node, or `auto` on one "
            f"of its nodes; Ray Client and dashboard addresses do not work"
        )


def parse_gpus(text: str | None) -> float | Literal["auto"] | None:
    """Return the share of a GPU that "0.5" or "auto" stands for.

    Raises:
        ConfigError: it stands for none that can be had.
    """
    if text is None:
        return None
    if text == "auto":
        return "auto"
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ConfigError(
            f"--gpus-per-trial {text}: allowed are 0 to 1, a whole number above 1, or `auto`"
        )
    check_share("--gpus-per-trial", value, least=0.0)
    return value


def check_share(option: str, value: float | None, *, least: float) -> None:
    """Refuse what Ray cannot hand out: parts of a device are below 1, more are whole devices.

    Raises:
        ConfigError: `value` is neither.
    """
    if value is not None and (value < least or (value > 1 and value != int(value))):
        raise ConfigError(
            f"{option} {value:g}: allowed are {least:g} to 1, or a whole number above 1"
        )


def data_dir_or_default(data_dir: Path | None) -> Path | None:
    """Return the folder of the data: the option, else the environment, else None."""
    from curvetune.settings import Settings

    return data_dir if data_dir is not None else Settings().data_dir


def storage_or_default(storage: Path | None) -> Path:
    """Return the folder of the results: the option, else the environment, else the default."""
    from curvetune.settings import Settings

    return storage if storage is not None else Settings().storage
