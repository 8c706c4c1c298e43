"""Says in which line of a plugin something failed."""

import traceback

from curvetune.errors import printable
from curvetune.plugins.code import Plugin


def where(plugin: Plugin, error: BaseException) -> str:
    """Return what failed in which line of the plugin, in one line; the innermost of its lines."""
    line = ""
    for frame in traceback.extract_tb(error.__traceback__):
        if any(frame.filename.endswith(f"/{name}") for name in plugin.files):
            line = f"{frame.filename}, line {frame.lineno}: "
    return f"{line}{said(error)}"


def said(error: BaseException) -> str:
    """Return an error's kind and text, in one line."""
    text = printable(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
