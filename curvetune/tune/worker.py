"""The first thing of a trial: bring in what it needs, and say so where that fails.

A worker may lack what the driver has: a broken PyTorch on one node, a module of the user's that is
not there. Ray Tune would call that a lost process and try four times. So nothing heavy is imported
up here, and a cell's config stays in its own bytes until its own trial: one that cannot be read
there costs no other.
"""

import pickle
import traceback
from collections.abc import Mapping
from typing import Any

from curvetune.system.redact import redact
from curvetune.training.import_errors import IMPORT, import_words, is_import_error


def run_trial(
    config: Mapping[str, Any], *, parts: Mapping[str, Any], cells: Mapping[str, bytes]
) -> None:
    """Run `train_cell`; Tune hears of a module that cannot be imported as of any other failure.

    Args:
        parts: references to `work`, `dataset` and `curves` in Ray's object store.
        cells: the pickled config of each cell.
    """
    import ray.tune

    cell_id = config["cell_id"]
    try:
        from curvetune.tune.trainable import runner, train_cell

        cell = pickle.loads(cells[cell_id])
        given = {name: _fetched(ref) for name, ref in parts.items()}
        runner(given["work"])
    except (Exception, SystemExit) as error:
        if not is_import_error(error):
            raise
        failed = redact(import_words(error))
        log = redact(traceback.format_exc())
        told = {"stage": "failed", "failed": failed, "kind": IMPORT, "log": log}
        ray.tune.report({**told, "cell_id": cell_id})
        return
    train_cell(config, cell=cell, **given)


def _fetched(ref: Any) -> Any:
    """Return an object from the store; where it cannot be unpickled here, raise why."""
    import ray

    try:
        return ray.get(ref)
    except ray.exceptions.RaySystemError as error:
        if isinstance(error.client_exc, BaseException):
            raise error.client_exc from None
        raise
