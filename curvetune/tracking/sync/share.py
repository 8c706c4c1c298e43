"""What the saved views of a grid are called, and what a link names them by."""

import uuid

TAG = "mlflow.sharedViewState."
METHODS, CELLS = "Methods by MA", "Cells in every setting"


PICTURE = "ma.svg"  # of MA, in the files of a grid's run


def share_key(name: str) -> str:
    """Return what a link names the view METHODS or CELLS by: `runs?viewStateShareKey=...`.

    It is the same for the same view, so that a sync replaces what it made.
    """
    return uuid.uuid5(uuid.NAMESPACE_URL, f"curvetune:{name}").hex[:16]
