"""What a file is by its name, and by its first bytes where its name does not say.

Only files that no one knows by name are opened. What is an image of a kind that is not read is
told apart from what is no image: the first is a part of the data that would be missing.
"""

from pathlib import Path
from typing import Literal

from curvetune.data.decode import SUFFIXES

FileKind = Literal["image", "unread", "unnamed", "other"]

# Images that are not read: other formats of Pillow's and of photographs, drawings and scans.
UNREAD = frozenset(
    """
    .heic .heif .hif .avif .avifs .jxl .jp2 .j2k .j2c .jpc .jpf .jpx .jxr .tga .icb .vda .vst
    .psd .psb .xcf .svg .svgz .eps .ico .cur .icns .dds .pcx .dcx .sgi .ras .xbm .xpm .exr .hdr
    .qoi .wmf .emf .fit .fits .dcm .dicom .raw .dng .nef .nrw .cr2 .cr3 .crw .arw .srf .sr2 .orf
    .rw2 .raf .pef .srw
    """.split()  # noqa: SIM905 (a list of 60 texts is not read more easily)
)
# What often lies beside images and is none: opening each would take longer than listing.
OTHERS = frozenset(
    """
    .txt .json .jsonl .xml .csv .tsv .yaml .yml .toml .ini .md .html .pdf .py .ipynb .log .npy
    .npz .pt .pth .pkl .h5 .mat .db .zip .tar .gz .mp4 .avi .mov .wav .mp3
    """.split()  # noqa: SIM905
)
# The first bytes of images, and where they begin.
STARTS = (
    (0, b"\x89PNG\r\n\x1a\n"),
    (0, b"\xff\xd8\xff"),  # JPEG
    (0, b"GIF8"),
    (0, b"II*\0"),  # TIFF, and most cameras' raw images
    (0, b"MM\0*"),
    (8, b"WEBP"),
    (0, b"8BPS"),  # Photoshop
    (4, b"jP  "),  # JPEG 2000
    (4, b"JXL "),
    (4, b"ftypheic"),
    (4, b"ftypheix"),
    (4, b"ftypmif1"),
    (4, b"ftypavif"),
    (128, b"DICM"),
)
LONGEST_START = max(at + len(start) for at, start in STARTS)


def kind_of(path: Path, suffix: str) -> FileKind:
    """Return what a plain file is: an image, one that is not read, or one without its extension.

    Args:
        suffix: of its name, in lower case.
    """
    if suffix in SUFFIXES:
        return "image"
    if suffix in UNREAD:
        return "unread"
    return "unnamed" if suffix not in OTHERS and _starts_like_an_image(path) else "other"


def _starts_like_an_image(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            head = file.read(LONGEST_START)
    except OSError:  # nobody knows then: it is counted with the other files
        return False
    if head[:2] == b"BM" and head[6:10] == b"\0\0\0\0":  # a bitmap, of whose header this is unused
        return True
    return any(head[at : at + len(start)] == start for at, start in STARTS)
