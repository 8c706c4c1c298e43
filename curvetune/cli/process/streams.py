r"""stdout and stderr: text that a terminal cannot show, a reader that left, a disk that is full.

What is only shown must change nothing: not what a command does, and not its exit code. That is all
of stderr, and of a command that stores its results also stdout (`only_shown`). What else goes to
stdout is the result of its command, so that a write which fails is an error; but a reader that has
read enough, such as `head`, ends it in silence, as it ends every program.

Text is written in the encoding of the terminal, with ± as +- and é as \xe9 where it has no such
character. Data (`write_data`) are UTF-8 whatever the terminal takes.
"""

import codecs
import io
import sys
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

READER_LEFT = 141  # what a shell makes of SIGPIPE, by which other programs end
NOT_WRITTEN = 1
ASCII = "curvetune_ascii"  # ASCII by another name: typer writes UTF-8 where it finds "ascii"
ERRORS = "curvetune.instead"
# fmt: off
INSTEAD = {
    "±": "+-", "×": "x", "–": "-", "—": "-", "−": "-", "─": "-", "…": "...", "→": "->", "←": "<-",
    "≤": "<=", "≥": ">=", "≈": "~", "·": "-", "•": "*", "≠": "!=",
    "‘": "'", "’": "'", "“": '"', "”": '"', "\u00a0": " ", "\u202f": " ",
    "✓": "ok", "✔": "ok", "✗": "x", "✘": "x",
}
# fmt: on


class Stream(io.FileIO):
    """A standard stream that goes on when its reader, or the space on its disk, is gone.

    The first write that fails raises, unless the stream is only shown; later ones are dropped.
    """

    def __init__(self, number: int, *, only_shown: bool) -> None:
        super().__init__(number, "w", closefd=False)
        self.only_shown = only_shown
        self.lost: OSError | None = None  # why text is missing

    def write(self, content: "ReadableBuffer", /) -> int:
        size = memoryview(content).nbytes
        if self.lost is not None and not self.only_shown:
            return size
        try:
            written = super().write(content)
        except OSError as error:
            self.lost = error
            if not self.only_shown:
                raise
            return size
        return size if written is None else written  # None: it would have to wait


_stdout: Stream | None = None


def open_streams() -> None:
    """Replace stdout and stderr, unless they are something else than files already."""
    global _stdout
    codecs.register(_ascii_by_another_name)
    codecs.register_error(ERRORS, _instead)
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout is sys.__stdout__:
        _stdout = Stream(sys.stdout.fileno(), only_shown=False)
        sys.stdout = _text(_stdout, sys.stdout)
    if isinstance(sys.stderr, io.TextIOWrapper) and sys.stderr is sys.__stderr__:
        sys.stderr = _text(Stream(sys.stderr.fileno(), only_shown=True), sys.stderr)


def only_shown() -> None:
    """Let nothing that happens to stdout change what the command does from now on."""
    if _stdout is not None:
        _stdout.only_shown = True


def write_data(content: bytes | str) -> None:
    """Write a command's result to stdout as it is, or as UTF-8."""
    if isinstance(content, str):
        content = content.encode("utf-8", "backslashreplace")  # of a name that is no text
    sys.stdout.flush()
    binary: IO[bytes] | None = getattr(sys.stdout, "buffer", None)
    if binary is None:
        sys.stdout.write(content.decode())
    else:
        binary.write(content)
    sys.stdout.flush()


def lost() -> OSError | None:
    """Write out what is left for stdout; return why not all of it could be written."""
    if sys.stdout is not None:
        try:
            sys.stdout.flush()
        except OSError as error:
            return error
    return None if _stdout is None else _stdout.lost


def is_result() -> bool:
    """Say whether stdout is the result of the command."""
    return _stdout is not None and not _stdout.only_shown


def is_of_stdout(error: BaseException | None) -> bool:
    """Say whether an error is that stdout cannot be written, which `lost` tells at the end."""
    return error is not None and _stdout is not None and error is _stdout.lost


def _text(raw: Stream, before: io.TextIOWrapper) -> io.TextIOWrapper:
    encoding, unbuffered = codecs.lookup(before.encoding).name, before.write_through
    return io.TextIOWrapper(
        raw if unbuffered else io.BufferedWriter(raw),
        encoding=ASCII if encoding == "ascii" else encoding,
        errors=ERRORS,
        newline="\n",
        line_buffering=before.line_buffering,
        write_through=unbuffered,
    )


def _instead(error: UnicodeError) -> tuple[str, int]:
    """Return what to write for the first character that an encoding does not have."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    character = error.object[error.start]
    escaped = character.encode("ascii", "backslashreplace").decode()
    return INSTEAD.get(character, escaped), error.start + 1


def _ascii_by_another_name(name: str) -> codecs.CodecInfo | None:
    if name != ASCII:
        return None
    found = codecs.lookup("ascii")
    return codecs.CodecInfo(
        found.encode,
        found.decode,
        found.streamreader,
        found.streamwriter,
        found.incrementalencoder,
        found.incrementaldecoder,
        name=ASCII,
    )
