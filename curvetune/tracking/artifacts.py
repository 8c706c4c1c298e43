"""Writes the files of a run into a folder, each one whole or not at all."""

import os
from collections.abc import Mapping
from pathlib import Path

from curvetune.system.newfile import new_file


def write_artifacts(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write files by name; a name may have folders in it, and a file of that name is replaced.

    Raises:
        OSError: one cannot be written.
    """
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = new_file(path.parent, ".curvetune-")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
