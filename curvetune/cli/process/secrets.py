"""Keeps secrets out of what the command line says by ways that are not ours.

What curvetune prints itself is redacted where it is made. This is about the rest: records of
libraries, warnings, tracebacks, and typer's complaints, which repeat what was typed.
"""

import contextlib
import logging
import threading
import traceback
import warnings
from collections.abc import Iterator
from typing import Any

import typer
from typer.core import TyperGroup

from curvetune.cli.process import streams
from curvetune.system.redact import redact


class Guarded(TyperGroup):
    """The group of all commands; what it says of a wrong option is redacted."""

    def make_context(self, *arguments: Any, **options: Any) -> Any:
        with _redacted_complaints():
            return super().make_context(*arguments, **options)

    def invoke(self, ctx: Any) -> Any:
        with _redacted_complaints():
            return super().invoke(ctx)


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))


def guard_output() -> None:
    """Redact log records, warnings and the tracebacks of threads from now on."""
    if logging.lastResort is not None:  # prints warnings to stderr where nobody set up logging
        logging.lastResort.setFormatter(_Formatter())
    plain = warnings.formatwarning
    warnings.formatwarning = lambda *a, **k: redact(plain(*a, **k))
    threading.excepthook = _thread_ended


def print_traceback(error: BaseException) -> None:
    """Print to stderr how a mistake of ours came about."""
    typer.echo(redact("".join(traceback.format_exception(error))), err=True, nl=False)


def _thread_ended(arguments: threading.ExceptHookArgs) -> None:
    if streams.is_of_stdout(arguments.exc_value):  # told at the end
        return
    if arguments.exc_value is not None and not issubclass(arguments.exc_type, SystemExit):
        print_traceback(arguments.exc_value)


@contextlib.contextmanager
def _redacted_complaints() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if isinstance(getattr(error, "message", None), str):  # typer's own errors
            error.message = redact(error.message)  # type: ignore[attr-defined]
        raise
