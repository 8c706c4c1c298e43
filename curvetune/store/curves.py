"""Probe results: the loss and margin of every sample at every epoch, content-addressed.

    probes/<probe_id>/curves.npy      (N, T) float32, whole: S is applied on reading; NaN for
                                      samples that the probe did not train on
                      margins.npy     (N, T) float16, the given label's logit less the largest
                                      other; not there if an older version ran the probe
                      model.safetensors   its classifier, for methods that start from one
                      history.jsonl   one row per epoch
                      rounded.json    only if losses were rounded on the way (offline/pack.py)
                      manifest.json   last; the SHA-256 of each file and what the probe was

A probe exists when its manifest does and every file has the checksum that it lists.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curvetune.errors import CorruptError
from curvetune.store.checksums import sha256
from curvetune.store.files import (
    check_files,
    check_owner,
    folder_of,
    publish_json,
    published_etags,
    read_json,
    read_published,
    remove,
    write_atomic,
)
from curvetune.store.lease import Lease
from curvetune.store.names import CURVES, HISTORY, MANIFEST, MARGINS, MODEL, PROBES, ROUNDED
from curvetune.store.plain import is_there

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SCHEMA_VERSION = 2  # 1 had no seal


class CurveStore:
    """The curves under one storage root."""

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)

    def folder(self, probe_id: str) -> Path:
        """Return the folder of a probe, whether or not it exists."""
        return folder_of(self.root, PROBES, probe_id)

    def write(
        self,
        probe_id: str,
        curves: "NDArray[np.float32]",
        info: Mapping[str, Any],
        lease: Lease | None = None,
        margins: "NDArray[np.float16] | None" = None,
    ) -> None:
        """Publish the curves, (N, T), of a probe with what is worth knowing about it, once.

        Args:
            lease: of the probe's folder, which must be held still.
            margins: (N, T); none are kept if None.

        Raises:
            LostLeaseError: another process took the probe over, or published it first.
            StorageError: they cannot be written.
        """
        import numpy as np  # inside, here and below: who asks what is done needs no arrays

        from curvetune.store.arrays import npy_parts

        folder = self.folder(probe_id)
        write_atomic(folder / CURVES, npy_parts(curves, np.float32))
        if margins is not None:
            write_atomic(folder / MARGINS, npy_parts(margins, np.float16))
        kept = [CURVES, HISTORY, MODEL, *([] if margins is None else [MARGINS])]
        names = [name for name in kept if (folder / name).exists()]
        manifest = {
            "schema_version": SCHEMA_VERSION,
            "probe_id": probe_id,
            "shape": list(curves.shape),
            "files": {name: sha256(folder / name) for name in names},
            **published_etags(folder, names),
            **info,
        }
        if (folder / ROUNDED).exists():  # whoever reads the manifest must be told
            manifest["rounded"] = read_json(folder / ROUNDED)
        if lease is not None:
            lease.check()
        publish_json(folder / MANIFEST, manifest)

    def has_manifest(self, probe_id: str) -> bool:
        """Say whether the probe was published, be it whole or damaged now."""
        return is_there(self.folder(probe_id) / MANIFEST)

    def discard(self, probe_id: str) -> None:
        """Remove a probe that cannot be read, so that another can be published."""
        remove(self.folder(probe_id) / MANIFEST)

    def has(self, probe_id: str) -> bool:
        """Say whether the probe is there, whole and unchanged."""
        try:
            self.read(probe_id)
        except CorruptError:
            return False
        return True

    def manifest(self, probe_id: str) -> dict[str, Any]:
        """Return the manifest of a probe, having checked every file that it lists.

        Raises:
            CorruptError: the probe is missing, or a file is not what its checksum says.
        """
        folder = self.folder(probe_id)
        manifest = read_published(folder / MANIFEST)
        check_owner(folder, manifest, "probe_id")
        check_files(folder, manifest)
        return manifest

    def read(self, probe_id: str) -> "NDArray[np.float32]":
        """Return the curves, (N, T), of a probe: read-only, mapped from the disk.

        Raises:
            CorruptError: the probe is missing, or a file is not what its checksum says.
        """
        import numpy as np

        from curvetune.store.arrays import load_matrix

        self.manifest(probe_id)
        return load_matrix(self.folder(probe_id) / CURVES, np.float32)

    def margins(self, probe_id: str) -> "NDArray[np.float16] | None":
        """Return the margins, (N, T), of a probe, read-only; None if it recorded none.

        Its sign bit says that a sample was predicted as another label than the given one.

        Raises:
            CorruptError: the probe is missing, or a file is not what its checksum says.
        """
        import numpy as np

        from curvetune.store.arrays import load_matrix

        if MARGINS not in self.manifest(probe_id)["files"]:
            return None
        return load_matrix(self.folder(probe_id) / MARGINS, np.float16)
