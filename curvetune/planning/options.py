"""How trials run, from the texts and numbers of options: what Ray cannot do is refused at once."""

import math
import re
from typing import Literal

from curvetune.errors import ConfigError, printable
from curvetune.planning.resources import Engine, LaunchOptions

SECONDS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def parse_launch(
    address: str | None,
    gpus_per_trial: str | None,
    cpus_per_trial: float | None,
    max_concurrent: int | None,
    checkpoint_every: int,
    hang_after: float,
    data_cpus: int | None = None,
    accelerator: str | None = None,
    wait: str | None = None,
    engine: str = "graphs",
) -> LaunchOptions:
    """Return how trials run, refusing before Ray starts what Ray would refuse much later.

    Raises:
        ConfigError: a share of a device that cannot be had, or an address for another client.
    """
    gpus = parse_gpus(gpus_per_trial)
    check_share("--cpus-per-trial", cpus_per_trial, least=0.01)
    check_address(address)
    if accelerator is not None and gpus == 0:
        raise ConfigError(
            f"--accelerator {accelerator} with --gpus-per-trial 0: a cell without a GPU runs on no "
            f"kind of GPU; leave one of the two out"
        )
    return LaunchOptions(
        address,
        gpus,
        cpus_per_trial,
        max_concurrent,
        checkpoint_every,
        hang_after,
        data_cpus,
        accelerator,
        None if wait is None else parse_time("--wait", wait),
        parse_engine(engine),
    )


def parse_engine(text: str) -> Engine:
    """Return how steps are run.

    Raises:
        ConfigError: it is no engine.
    """
    if text == "eager":
        return "eager"
    if text != "graphs":
        raise ConfigError(f"--engine {printable(text)!r}: allowed are graphs, eager")
    return "graphs"


def parse_time(option: str, text: str) -> float:
    """Return the seconds that "30m", "90s", "2h" or "45" (seconds) stand for.

    Raises:
        ConfigError: it stands for no time.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhd]?)", text.strip())
    if match is None:
        raise ConfigError(
            f"{option} {printable(text)!r}: allowed are a number and a unit, such as 90s, 30m, 2h "
            f"or 1d; 0 waits for nothing"
        )
    return float(match[1]) * SECONDS[match[2]]


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
