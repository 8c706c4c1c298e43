"""The suspects of a cell as one page of HTML that needs no network: a thumbnail for each."""

import base64
import io

import numpy as np
from numpy.typing import NDArray

from curvetune.analysis.suspects import ScoreTable, Suspects
from curvetune.data.source import Dataset
from curvetune.report.pages.templates import render
from curvetune.report.sheet import Sheet
from curvetune.report.suspects import (
    TITLES,
    cell_text,
    footnotes,
    score_header,
    score_rows,
    shown_columns,
    suspects_frame,
    title,
)

LARGEST = 64  # pixels a side of an image that is shown as it is, each pixel
PHOTOGRAPH = 128  # to which a larger one is scaled down
QUALITY = 80  # of JPEG, as which it is shown: 3 to 6 kB, where PNG takes 30


def suspects_page(found: Suspects, top: int) -> str:
    """Return the page of the `top` worst samples."""
    frame = suspects_frame(found, top)
    names = [name for name in shown_columns(frame) if name not in ("rank", "given_name")]
    samples = [
        {
            "rank": row["rank"],
            "image": thumbnail_uri(found.dataset, int(found.split.train[k])),
            "is_wrong": bool(row.get("is_wrong")),
            "given": cell_text("given_name", row["given_name"]),
            "facts": [(TITLES[name], cell_text(name, row[name])) for name in names],
        }
        for k, row in zip(found.order[:top], frame.iter_rows(named=True), strict=True)
    ]
    scored = found.table(top)
    return render(
        "suspects.html.j2",
        title=f"Suspect labels: {title(found)}, the {len(frame)} worst",
        scores=_score_sheet(found, scored) if scored else None,
        notes=footnotes(found),
        samples=samples,
    )


def thumbnail_uri(dataset: Dataset | None, index: int) -> str:
    """Return an image of the training set as a data URI, a large one small; empty if not here."""
    if dataset is None:
        return ""
    pixels = dataset.train.x[np.array([index])][0]
    kind, encoded = _encoded(pixels, dataset.white)
    return f"data:image/{kind};base64,{base64.b64encode(encoded).decode()}"


def _score_sheet(found: Suspects, scored: ScoreTable) -> Sheet:
    header = tuple((text,) for text in score_header(scored))
    rows = tuple(map(tuple, score_rows(found, scored)))
    return Sheet("how well each score finds them", header, rows)


def _encoded(pixels: NDArray[np.uint8], white: int) -> tuple[str, bytes]:
    """Return an image, (C, H, W), as a file and the kind of that."""
    from PIL import Image

    scaled = (pixels.astype(np.float32) * (255 / white)).clip(0, 255).astype(np.uint8)
    shown = scaled[0] if len(scaled) == 1 else scaled.transpose(1, 2, 0)
    image, file = Image.fromarray(shown), io.BytesIO()
    if max(image.size) <= LARGEST:
        image.save(file, "PNG")
        return "png", file.getvalue()
    image.thumbnail((PHOTOGRAPH, PHOTOGRAPH))
    image.save(file, "JPEG", quality=QUALITY)
    return "jpeg", file.getvalue()
