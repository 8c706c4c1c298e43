"""Says in which line of a plugin something failed."""

import traceback
from collections.abc import Mapping
from typing import Protocol

from curvetune.errors import printable


class HasFiles(Protocol):
    """What is known of where a plugin's code is."""

    @property
    def origin(self) -> str: ...
    @property
    def files(self) -> Mapping[str, bytes]: ...


def where(plugin: HasFiles, error: BaseException) -> str:
    """Return what failed in which line of the plugin, in one line; the innermost of its lines."""
    own = {plugin.origin, *plugin.files}
    line = ""
    for frame in traceback.extract_tb(error.__traceback__):
        if any(frame.filename == name or frame.filename.endswith(f"/{name}") for name in own):
            line = f"{frame.filename}, line {frame.lineno}: "
    return f"{line}{said(error)}"


def said(error: BaseException) -> str:
    """Return an error's kind and text, in one line."""
    text = printable(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
