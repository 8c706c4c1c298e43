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

LARGEST = 64  # pixels a side of a thumbnail; larger images are left out


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
    """Return an image of the training set as a data URI; empty where it is large or not here."""
    if dataset is None or max(dataset.train.x.shape[-2:]) > LARGEST:
        return ""
    png = base64.b64encode(_png(dataset.train.x[index], _brightest(dataset))).decode()
    return f"data:image/png;base64,{png}"


def _score_sheet(found: Suspects, scored: ScoreTable) -> Sheet:
    header = tuple((text,) for text in score_header(scored))
    rows = tuple(map(tuple, score_rows(found, scored)))
    return Sheet("how well each score finds them", header, rows)


def _brightest(dataset: Dataset) -> int:
    """Return what is white: digits go to 16, photographs to 255."""
    return 16 if dataset.name == "digits" else 255


def _png(pixels: NDArray[np.uint8], white: int) -> bytes:
    from PIL import Image

    scaled = (pixels.astype(np.float32) * (255 / white)).clip(0, 255).astype(np.uint8)
    shown = scaled[0] if len(scaled) == 1 else scaled.transpose(1, 2, 0)
    text = io.BytesIO()
    Image.fromarray(shown).save(text, "PNG")
    return text.getvalue()
