"""Which cluster trials run on: `--address`, else the environment's, else Ray is started here.

Nothing heavy is imported: `curvetune doctor` reads it before it asks Ray.
"""

import os
from collections.abc import Mapping

from curvetune.errors import ConfigError

RAY_ADDRESS = "RAY_ADDRESS"  # Ray sets it for the entrypoint of a job
LOCAL = "local"  # as Ray calls it


def chosen_address(
    given: str | None, environment: Mapping[str, str] = os.environ
) -> tuple[str | None, str]:
    """Return the cluster's address, None to start Ray here, and by what name people gave it.

    Raises:
        ConfigError: the environment names an address for another client.
    """
    if given == LOCAL:
        return None, ""
    if given is not None:
        return given, f"--address {given}"
    named = environment.get(RAY_ADDRESS, "")
    if not named or named == LOCAL:
        return None, ""
    if "://" in named:
        raise ConfigError(
            f"{RAY_ADDRESS}={named} is an address for Ray's jobs or for Ray Client, and a grid is "
            f"neither; unset it, set host:port of the head node, or give --address, where `local` "
            f"starts Ray on this machine"
        )
    return named, f"{RAY_ADDRESS}={named}"
