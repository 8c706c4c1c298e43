"""What the files of a storage are called. Nobody outside of `store` writes a name down again."""

from pathlib import Path

# in the folder of a cell and of a probe
HISTORY = "history.jsonl"
CHECKPOINT = "checkpoint.safetensors"
MODEL = "model.safetensors"
# of a cell alone (cells.py)
CONFIG = "config.json"
SAMPLES = "samples.safetensors"
FAILED = "FAILED.json"
PAUSED = "PAUSED.json"
DONE = "DONE.json"
# of a probe alone (curves.py)
CURVES = "curves.npy"
MARGINS = "margins.npy"
ROUNDED = "rounded.json"
COLUMNS = ".columns"  # after the name of what is recorded, until the probe ends
MANIFEST = "manifest.json"

CELLS, PROBES, SPLITS, GRIDS = "cells", "probes", "splits", "grids"
RELABELS = "relabels"
TUNINGS = "tunings"  # which trials the search of each method has had (tunings.py)
ESTIMATES, STEP_TIMES = "estimates", "step_times"
TUNE = ".tune"  # Ray Tune's own state while a command runs
COMMANDS = "commands"  # in grids/: what each command for a grid had (commands.py)
SYNC = ".sync"  # in grids/: whose turn it is to write to MLflow, and what its database has


def commands_folder(root: Path | str, grid: str) -> Path:
    """Return the folder of what each command for a grid had."""
    return Path(root) / GRIDS / COMMANDS / grid


def command_file(root: Path | str, grid: str, record_id: str) -> Path:
    """Return the file of what one command for a grid had."""
    return commands_folder(root, grid) / f"{record_id}.json"


def sync_folder(root: Path | str, grid: str) -> Path:
    """Return the folder of whose turn it is to write a grid to MLflow, and of what that has."""
    return Path(root) / GRIDS / SYNC / grid


def step_times_file(root: Path | str, grid: str) -> Path:
    """Return the file of what a step of each method of a grid takes."""
    return Path(root) / STEP_TIMES / f"{grid}.json"


def tuning_file(root: Path | str, tuning_id: str) -> Path:
    """Return the file of the trials that the search of a method has had."""
    return Path(root) / TUNINGS / f"{tuning_id}.json"
