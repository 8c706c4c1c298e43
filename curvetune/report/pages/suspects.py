"""The suspects of a cell as one page of HTML that needs no network: a thumbnail for each."""

import base64
import io
from html import escape

import numpy as np
from numpy.typing import NDArray

from curvetune.analysis.suspects import Suspects
from curvetune.data.source import Dataset
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

STYLE = """
:root { color-scheme: light dark; }
body { font: 1rem/1.45 system-ui, sans-serif; margin: 1rem auto; max-width: 75rem; padding: 0 1rem }
h1 { font-size: 1.3rem }
ol { display: grid; grid-template-columns: repeat(auto-fill, minmax(13rem, 1fr)); gap: .75rem;
  list-style: none; padding: 0 }
li { border: 1px solid #8888; border-radius: .4rem; padding: .6rem; overflow-wrap: anywhere }
li.wrong { border-left: .4rem solid #b45309 }
img { image-rendering: pixelated; width: 6rem; height: 6rem; object-fit: contain }
dl { display: grid; grid-template-columns: auto 1fr; gap: 0 .6rem; margin: .4rem 0 0;
  font-size: .875rem }
dd { margin: 0; text-align: right; font-variant-numeric: tabular-nums }
.scroll { overflow-x: auto } table { border-collapse: collapse; font-size: .875rem }
th, td { padding: .25rem .6rem; text-align: right; border-bottom: 1px solid #8884 }
th:first-child, td:first-child { text-align: left }
.note { font-size: .875rem; opacity: .8 }
"""
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def suspects_page(found: Suspects, top: int) -> str:
    """Return the page of the `top` worst samples."""
    frame = suspects_frame(found, top)
    names = [name for name in shown_columns(frame) if name not in ("rank", "given_name")]
    items = []
    for k, row in zip(found.order[:top], frame.iter_rows(named=True), strict=True):
        facts = "".join(
            f"<dt>{TITLES[name]}</dt><dd>{escape(cell_text(name, row[name]))}</dd>"
            for name in names
        )
        given = escape(cell_text("given_name", row["given_name"]))
        mark = ' class="wrong"' if row.get("is_wrong") else ""
        image = thumbnail(found.dataset, int(found.split.train[k]), row["rank"])
        items.append(
            f"<li{mark}>{image}<div><b>{row['rank']}.</b> given <b>{given}</b></div>"
            f"<dl>{facts}</dl></li>"
        )
    heading = escape(f"Suspect labels: {title(found)}, the {len(frame)} worst")
    notes = "".join(f'<p class="note">{escape(note)}</p>' for note in footnotes(found))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(POLICY)}">'
        f"<title>{heading}</title><style>{STYLE}</style></head><body><main>"
        f"<h1>{heading}</h1>{_score_table(found, top)}{notes}<ol>{''.join(items)}</ol>"
        "</main></body></html>\n"
    )


def thumbnail(dataset: Dataset | None, index: int, rank: int) -> str:
    """Return an image of the training set as an <img>, or nothing where it is large or not here."""
    if dataset is None or max(dataset.train.x.shape[-2:]) > LARGEST:
        return ""
    png = base64.b64encode(_png(dataset.train.x[index], _brightest(dataset))).decode()
    return f'<img src="data:image/png;base64,{png}" alt="image of rank {rank}" loading="lazy">'


def _score_table(found: Suspects, top: int) -> str:
    scored = found.table(top)
    if not scored:
        return ""
    header = "".join(f'<th scope="col">{escape(text)}</th>' for text in score_header(scored))
    rows = "".join(
        f"<tr>{''.join(f'<td>{escape(text)}</td>' for text in row)}</tr>"
        for row in score_rows(scored)
    )
    return (
        '<h2>Against the known noise</h2><div class="scroll" tabindex="0"><table>'
        f"<thead><tr>{header}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


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
