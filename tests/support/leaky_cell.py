"""A stand-in for `curvetune.cell.run_cell` whose cells of seed 1 fail and tell all they know.

As a program it is `curvetune`, and after the word `leaky` with that stand-in.
"""

import functools
import os
import sys
from typing import Any

URI = "http://scientist:pa%2Fss-w0rd!@tracker.invalid:5000/mlflow?token=q-u-e-r-y-t0ken"
SECRETS = {
    "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG+bPxRfiCY",
    "MLFLOW_TRACKING_PASSWORD": "tr4cker-password",
    "RAY_AUTH_TOKEN": "5f0c1d2e3b4a59687786a5b4c3d2e1f0",
    "DATABASE_URL": "postgresql://admin:d4tabase-pw@db.invalid/runs",
}


def run_cell(cell: Any, *positional: Any, **named: Any) -> dict[str, Any]:
    from curvetune import cell as real  # inside: most commands here need no PyTorch

    if cell.seed != 1:
        return real.run_cell(cell, *positional, **named)
    try:
        raise ConnectionError(f"{os.environ['DATABASE_URL']} did not answer; tried {URI}")
    except ConnectionError as error:
        known = {name: os.environ[name] for name in SECRETS}
        raise RuntimeError(f"no connection to {URI} with {known}\n{URI}") from error


if __name__ == "__main__":
    if sys.argv[1] == "leaky":
        from leaky_cell import run_cell as stand_in  # by name, so that Ray's workers find it

        from curvetune.tune import launch

        launch.launch = functools.partial(launch.launch, run_cell=stand_in)
        sys.argv.pop(1)
    from curvetune.cli import main

    main()
