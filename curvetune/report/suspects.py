"""The suspects of a cell as a data frame, JSON, and a table for a terminal."""

import io
from typing import TYPE_CHECKING, Any

import numpy as np

from curvetune.analysis.suspects import ScoreTable, Suspects
from curvetune.errors import ConfigError, printable
from curvetune.report.lines import table_lines

if TYPE_CHECKING:
    import polars
    from rich.console import Console

SCHEMA_VERSION = 1
NOTHING = "–"
PATH = 4096  # characters: no path is longer, so none is cut
TITLES = {
    "rank": "rank",
    "index": "index",
    "file": "file",
    "given_name": "given",
    "other_name": "other",
    "two_labels": "two labels",
    "cells": "cells",
    "score": "score",
    "weight": "weight",
    "mean_loss": "mean loss",
    "last_loss": "last loss",
    "true_name": "true",
    "is_wrong": "wrong",
}

SCORES = {
    "last_loss": "last loss",
    "mean_loss": "mean loss",
    "aum": "AUM",
    "aum_lower_bound": "AUM (bound)",
    "forgetting_events": "forgetting",
    "cleanlab_self_confidence": "cleanlab, confidence",
    "cleanlab_normalized_margin": "cleanlab, margin",
}


def suspects_frame(found: Suspects, top: int | None) -> "polars.DataFrame":
    """Return the `top` samples (all of them if None), the worst first, a row for each."""
    import polars

    order = found.order[:top]
    y, other = found.split.y[order], found.other
    columns: dict[str, Any] = {"rank": range(1, len(order) + 1), "index": found.split.train[order]}
    if found.files is not None:
        columns["file"] = [printable(found.files[k], PATH) for k in found.split.train[order]]
    columns |= {"given_label": y, "given_name": [found.name_of(k) for k in y]}
    others = None if other is None else other[order]
    columns["other_label"] = [None] * len(order) if others is None else others
    columns["other_name"] = [None] * len(order) if others is None else map(found.name_of, others)
    if found.in_conflict.any():
        columns["two_labels"] = found.in_conflict[order]
    if found.counts is not None:
        columns["cells"] = found.counts[order]
    columns["score"] = found.score[order]
    columns |= {name: values[order] for name, values in found.columns.items()}
    if found.wrong is not None:
        true = [int(k) if k >= 0 else None for k in found.split.y_true[order]]
        names = [None if k is None else found.name_of(k) for k in true]
        columns |= {"true_label": true, "true_name": names}
        known = found.known[order].tolist()
        told = zip(found.wrong[order].tolist(), known, strict=True)
        columns["is_wrong"] = [is_wrong if is_known else None for is_wrong, is_known in told]
    frame = polars.DataFrame({name: polars.Series(name, list(v)) for name, v in columns.items()})
    kinds = [polars.col(polars.Float64).fill_nan(None)]
    # Where a column is null in all rows, polars cannot tell what it is of
    empty: dict[Any, Any] = {}
    if others is None:
        empty |= {"other_label": polars.Int64, "other_name": polars.String}
    if found.wrong is not None:
        empty |= {"true_label": polars.Int64, "true_name": polars.String}
        empty["is_wrong"] = polars.Boolean
    return frame.with_columns(kinds).cast(empty)


def cleanlab_frame(found: Suspects) -> "polars.DataFrame":
    """Return every sample in the split's order, with the columns of cleanlab's `get_label_issues`.

    `label_quality` is 1 less our score. An issue is one of the worst, as many as the losses say are
    wrong (probe/noise_rate.py). `predicted_label` is the final classifier's.

    Raises:
        ConfigError: the images are not here, so there is no prediction.
    """
    import polars

    if found.probabilities is None:
        raise ConfigError(f"--format cleanlab needs predicted labels; {' '.join(found.notes)}")
    issues = np.zeros(len(found.score), dtype=bool)
    issues[found.order[: round(found.estimate * len(found.score))]] = True
    columns: dict[str, Any] = {"index": found.split.train}
    if found.files is not None:
        columns["file"] = [printable(found.files[k], PATH) for k in found.split.train]
    return polars.DataFrame(
        columns
        | {
            "is_label_issue": issues,
            "label_quality": 1 - found.score,
            "given_label": found.split.y,
            "predicted_label": found.probabilities.argmax(axis=1),
        }
    )


def labels_frame(found: Suspects, top: int) -> "polars.DataFrame":
    """Return the `top` samples, the worst first, as `curvetune relabel` reads them once filled in.

    `label` is empty: a row without a label changes nothing. A sample is its file in a folder, but
    its index where the file's name cannot be shown as it is.
    """
    import polars

    frame = suspects_frame(found, top)
    index = frame["index"].to_list()
    samples = [str(k) for k in index]
    if found.files is not None:
        names = ((k, found.files[k]) for k in index)
        samples = [name if printable(name, PATH) == name else str(k) for k, name in names]
    shown = {"given_name": "given", "other_name": "other", "score": "score"}
    empty = polars.Series("label", [None] * len(index), polars.String)
    columns = [polars.Series("sample", samples), empty]
    return polars.DataFrame(columns + [frame[name].alias(title) for name, title in shown.items()])


def suspects_json(found: Suspects, top: int) -> dict[str, Any]:
    """Return what `suspects CELL --json` prints."""
    return {
        "schema_version": SCHEMA_VERSION,
        "cell_id": None if found.mean_of else found.cell_id,
        "cells": list(found.mean_of or (found.cell_id,)),
        "method": found.config.method.name,
        "samples": len(found.score),
        "wrong": None if found.wrong is None else int(found.wrong.sum()),
        "estimated_noise_rate": found.estimate,
        "ranked_by": found.ranked_by,
        "made_of": list(found.made_of),
        "scores": found.table(top),
        "notes": found.notes,
        "suspects": suspects_frame(found, top).to_dicts(),
    }


def print_suspects(found: Suspects, console: "Console", top: int) -> None:
    """Print the `top` samples, then how well each score does where the truth is known.

    Nothing is folded or cut: the file is last, and may be as long as it likes.
    """
    frame = suspects_frame(found, top)
    names = [name for name in shown_columns(frame) if name != "file"]
    names += ["file"] if "file" in frame.columns else []
    rows = [[cell_text(name, row[name]) for name in names] for row in frame.iter_rows(named=True)]
    left = frozenset(k for k, n in enumerate(names) if n == "file" or n.endswith("_name"))
    lines = table_lines([TITLES[name] for name in names], rows, left)
    for line in (f"{title(found)}, the {len(frame)} worst", *lines):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    print_scores(found, console, top)


def print_scores(found: Suspects, console: "Console", top: int) -> None:
    """Print how well each score finds the wrong labels, and what to know about it."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table as RichTable

    scored = found.table(top)
    if scored:
        table = RichTable(box=SIMPLE_HEAD, show_edge=False)
        for k, name in enumerate(score_header(scored)):
            table.add_column(name, justify="right" if k else "left", no_wrap=True)
        for row in score_rows(found, scored):
            table.add_row(*row)
        console.print()
        console.print("against the known noise", highlight=False)
        console.print(table)
    for note in footnotes(found):
        console.print(note, style="dim", highlight=False)


def title(found: Suspects) -> str:
    """Return which samples these are."""
    if found.mean_of:
        seeds = ", ".join(map(str, found.seeds))
        return (
            f"mean of {len(found.mean_of)} cells of {found.config.method.name} (seeds {seeds}): "
            f"{len(found.score)} training samples"
        )
    return f"cell {found.cell_id}, {found.config.method.name}: {len(found.score)} training samples"


def footnotes(found: Suspects) -> list[str]:
    """Return what a reader must know."""
    conflicts = int(found.in_conflict.sum())
    first = "the first in the list are one picture each under two given labels: one is wrong"
    notes = [f"{conflicts} samples are copies; {first}"] if conflicts else []
    mean = "mean " if len(found.made_of) > 1 else ""
    parts = " and ".join([", ".join(found.made_of[:-1]), found.made_of[-1]][-len(found.made_of) :])
    notes += [f"score: {mean}percentile of {parts}; 1 is the worst"]
    if found.mean_of:
        notes.append(
            "each value is the mean over those of the cells that trained on the sample with this "
            "label; so many are in the column cells"
        )
    if found.wrong is None:
        known = found.config.bias.truth_is_known
        why = "no wrong label was added" if known else "nobody knows which labels are wrong"
        notes.append(f"{why} here, so no score can be judged")
    else:
        bad, judged = int(found.wrong.sum()), int(found.known.sum())
        share = bad / judged
        if judged < len(found.wrong):
            notes.append(
                f"of {judged} of {len(found.wrong)} labels it is known whether they are wrong; "
                f"the scores are judged over these"
            )
        notes.append(
            f"{bad} labels are wrong: P@k is the share among the k worst, {share:.3f} by chance; "
            f"FNR is the share missed if the {bad} worst are checked"
        )
        notes += _better(found)
    return [*notes, f"the losses suggest that {found.estimate:.0%} are wrong", *found.notes]


def _better(found: Suspects) -> list[str]:
    """Return which scores find the wrong labels better than the one that samples are ranked by."""
    scored = found.table(1)
    known = {name: row["auroc"] for name, row in scored.items() if row["auroc"] is not None}
    ours = known.pop("score", None)
    above = {name: auroc for name, auroc in known.items() if ours is not None and auroc > ours}
    if not above:
        return []
    best = max(above, key=lambda name: above[name])
    return [
        f"{_name(best, scored)} finds them better here, AUROC {above[best]:.3f} against "
        f"{ours:.3f}: --score {best}"
    ]


def shown_columns(frame: "polars.DataFrame") -> list[str]:
    """Return the columns that people read."""
    return [name for name in TITLES if name in frame.columns]


def cell_text(name: str, value: Any) -> str:
    """Return a value of `suspects_frame` for people."""
    if value is None:
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3f}"
    return printable(value, PATH)


def score_header(scored: ScoreTable) -> list[str]:
    """Return the header of `score_rows`."""
    first = next(iter(scored.values()))
    short = {"auroc": "AUROC", "false_negative_rate": "FNR"}
    return ["by", *(short.get(n, n.replace("precision_at_", "P@")) for n in first)]


def score_rows(found: Suspects, scored: ScoreTable) -> list[list[str]]:
    """Return a row for each score: its name, and how good it is; the one ranked by comes first."""
    ours = f"score: {_name(found.ranked_by, scored)}"
    return [
        [
            ours if name == "score" else _name(name, scored),
            *(NOTHING if v is None else f"{v:.3f}" for v in row.values()),
        ]
        for name, row in scored.items()
        if name != found.ranked_by
    ]


def _name(score: str, scored: ScoreTable) -> str:
    is_bound = score == "forgetting_events" and "aum" not in scored
    return SCORES.get(score, score) + (" (bound)" if is_bound else "")


def suspects_text(found: Suspects, top: int) -> str:
    """Return what `print_suspects` prints, as text for a file."""
    from curvetune.system.terminal import plain_console

    console = plain_console(file=io.StringIO(), width=160)
    print_suspects(found, console, top)
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return text


def parquet(frame: "polars.DataFrame") -> bytes:
    """Return a frame as the bytes of a Parquet file."""
    content = io.BytesIO()
    frame.write_parquet(content)
    return content.getvalue()
