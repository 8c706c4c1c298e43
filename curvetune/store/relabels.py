"""Corrected labels: relabels/<digest>.csv, where the digest is of the file's own bytes.

    sample,label,number,data
    17,cat,3,0123456789abcdef

`sample` is an index into the training images, `label` the name of a class and `number` its place
among the classes, `data` the first digits of the digest of the data that the indices are of. Cells
read `number`. The other columns let a person read it, and `curvetune relabel` take it as a list of
labels.
"""

import csv
import hashlib
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from curvetune.errors import ConfigError, CorruptError, nearest, printable
from curvetune.store.files import ID, folder_of, write_atomic
from curvetune.store.names import RELABELS
from curvetune.store.plain import is_there, read_plain

COLUMNS = ["sample", "label", "number", "data"]
DATA_DIGITS = 16
MAX_BYTES = 1_000_000_000  # ten million samples
LISTED = 10  # digests that a message names


def relabel_file(root: Path, digest: str) -> Path:
    """Return the file of corrected labels, whether or not it exists.

    Raises:
        StorageError: it is a link out of the root.
    """
    return folder_of(root, RELABELS, digest).with_suffix(".csv")


def relabel_content(labels: Mapping[int, int], names: Sequence[str], data: str) -> bytes:
    """Return the file of corrected labels, (sample, class): the same bytes for the same labels.

    Args:
        names: of the classes, (K,).
        data: digest of the data.
    """
    text = io.StringIO()
    rows = [[k, names[labels[k]], labels[k], data[:DATA_DIGITS]] for k in sorted(labels)]
    csv.writer(text, lineterminator="\n").writerows([COLUMNS, *rows])
    return text.getvalue().encode("utf-8", "surrogateescape")


def relabel_digest(content: bytes) -> str:
    """Return the address of corrected labels."""
    return hashlib.sha256(content).hexdigest()[:16]


def write_relabel(root: Path, content: bytes) -> str:
    """Keep corrected labels; return their address.

    Raises:
        StorageError: they cannot be written.
    """
    digest = relabel_digest(content)
    path = relabel_file(root, digest)
    if not is_there(path) or relabel_digest(read_plain(path, MAX_BYTES)) != digest:
        write_atomic(path, content)
    return digest


def read_relabel(root: Path, digest: str, data: str) -> dict[int, int]:
    """Return corrected labels: the class of each training sample that has one.

    Args:
        data: digest of the data that they are to be of.

    Raises:
        ConfigError: there are none with this address, or they are of other data.
        CorruptError: they are damaged.
    """
    path = relabel_file(root, digest)
    if not is_there(path):
        found = known_relabels(root)
        shown = ", ".join(found[:LISTED]) or "none yet; `curvetune relabel` makes them"
        raise ConfigError(
            f"data.relabel={digest}: {path} is not there{nearest(digest, found)}; "
            f"in the storage are: {shown}"
        )
    try:
        content = read_plain(path, MAX_BYTES)
        if relabel_digest(content) != digest:
            raise CorruptError(f"{path}: its content is not what its name says")
        rows = list(csv.DictReader(io.StringIO(content.decode("utf-8", "surrogateescape"))))
        labels = {int(row["sample"]): int(row["number"]) for row in rows}
        of = {str(row["data"]) for row in rows}
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise CorruptError(f"{path}: no corrected labels ({printable(error)})") from None
    if of - {data[:DATA_DIGITS]}:
        raise ConfigError(
            f"data.relabel={digest}: {path} corrects samples of other data (digest "
            f"{printable(min(of), 20)}, not {data[:DATA_DIGITS]}); give that data with --data-dir, "
            f"or make corrections of this one: `curvetune relabel`"
        )
    return labels


def known_relabels(root: Path) -> list[str]:
    """Return the addresses of all corrected labels in a storage."""
    return sorted(p.stem for p in (root / RELABELS).glob("*.csv") if ID.fullmatch(p.stem))
