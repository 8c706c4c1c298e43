"""Errors that come of an import: which module, which file, and what it says.

Standard library only, as this is used where PyTorch itself cannot be imported.
"""

import re
import sys
import traceback
from types import ModuleType, TracebackType

from curvetune.errors import FailureKind

IMPORT: FailureKind = "import"  # the kind of failure that FAILED.json names
MARK = "failed to import on the worker"  # what Ray says (_private/function_manager.py)
FRAME = re.compile(r'^ *File "(.+)", line (\d+)', re.MULTILINE)
RAISED = re.compile(r"^[\w.]+: .+$|^\w*(?:Error|Exit)$", re.MULTILINE)


def is_import_error(error: BaseException) -> bool:
    """Say whether a module could not be imported: it is not there, or it broke while it ran."""
    return isinstance(error, (ImportError, SyntaxError)) or _importing(error) is not None


def import_words(error: BaseException) -> str:
    """Return on one line which module could not be imported, its file, and why.

    >>> import_words(ModuleNotFoundError("No module named 'zap'", name="zap"))
    "cannot import zap: ModuleNotFoundError: No module named 'zap'"
    """
    said = traceback.format_exception_only(error)[-1].strip().splitlines()[0]
    name, file = _culprit(error)
    where = f" ({file})" if file and file not in said else ""
    return f"cannot import {name or 'a module'}{where}: {said}"


def words_in_log(log: str) -> str | None:
    """Return the same of an import that failed before our code could see it; None if none did.

    Ray wraps the traceback of a worker in its own words. All that is left of it is text.
    """
    _, mark, after = log.partition(MARK)
    if not mark:
        return None
    inner = after.partition("During handling of")[0]
    raised, frames = RAISED.search(inner.partition("Traceback")[2]), FRAME.findall(inner)
    said = raised[0] if raised else "Ray does not say why"
    where = f" ({frames[-1][0]}, line {frames[-1][1]})" if frames else ""
    return f"cannot import what it is to run{where}: {said}"


def _culprit(error: BaseException) -> tuple[str | None, str | None]:
    """Return the name and the file of the module that is not what it should be."""
    innermost = _importing(error)
    if isinstance(error, SyntaxError) and error.filename:
        return _imported_there(error) or innermost, f"{error.filename}, line {error.lineno}"
    if isinstance(error, ImportError) and error.name:
        return error.name, error.path or _file_of_parent(error.name)
    asked = getattr(error, "obj", None)  # an AttributeError says of what
    if isinstance(asked, ModuleType):
        return asked.__name__, _file(asked)
    return innermost, _last_file(error.__traceback__)


def _imported_there(error: SyntaxError) -> str | None:
    """Return the module's name as its file has it: a SyntaxError has no frame of its own."""
    name = str(error.filename).replace("\\", "/").removesuffix("/__init__.py")
    return name.rpartition("/")[2].removesuffix(".py") or None


def _importing(error: BaseException) -> str | None:
    """Return the innermost module whose import was under way when `error` came; None without."""
    name = None
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if frame.f_code.co_name == "<module>":
            name = str(frame.f_globals.get("__name__"))
    return name


def _last_file(trace: TracebackType | None) -> str | None:
    """Return the file and the line where a module's own code was, when the error came."""
    found = None
    for frame, line in traceback.walk_tb(trace):
        if frame.f_code.co_name == "<module>":
            found = f"{frame.f_code.co_filename}, line {line}"
    return found


def _file_of_parent(name: str) -> str | None:
    """Return the file of the module that should be the package of `name`, if one was imported."""
    parent = sys.modules.get(name.rpartition(".")[0])
    return _file(parent) if parent is not None else None


def _file(module: ModuleType) -> str | None:
    """Return where a module is: its file, or the folder of one that has none."""
    folders = list(getattr(module, "__path__", []))
    return getattr(module, "__file__", None) or (str(folders[0]) if folders else None)
