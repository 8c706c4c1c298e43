"""`curvetune suspects`: which training labels of a cell look wrong; it changes nothing."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from curvetune.cli import options as o
from curvetune.cli.report import write_page
from curvetune.cli.run import signs
from curvetune.errors import ConfigError, StorageError, nearest

if TYPE_CHECKING:
    from curvetune.analysis.suspects import Suspects

FORMS = ("table", "csv", "parquet", "cleanlab", "labels")


Score = Annotated[
    str,
    typer.Option(
        "--score",
        "--by",
        metavar="NAME",
        help="What to rank by: combined, aum (area under the margin), mean_loss, last_loss, "
        "weight, forgetting_events, or another score of the table.",
    ),
]
Where = Annotated[
    list[str] | None,
    typer.Option(
        "--where",
        metavar="KEY=VALUE",
        help="Which setting of GRID/METHOD, e.g. noise_rate=0.4. Can be given again.",
    ),
]


def suspects(
    cell: Annotated[
        str,
        typer.Argument(metavar="CELL", help="Its id, the first digits of it, or GRID/METHOD."),
    ],
    top: Annotated[int, typer.Option("--top", min=1, help="How many samples to show.")] = 200,
    score: Score = "combined",
    form: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="FORM",
            help="table, csv, parquet, cleanlab or labels. cleanlab is a CSV file of all samples "
            "in the order of the data, with cleanlab's columns. labels is one to fill in for "
            "`curvetune relabel`.",
        ),
    ] = "table",
    page: o.Html = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="FILE", help="Write to this file instead of standard output."
        ),
    ] = None,
    where: Where = None,
    plugins: o.Plugins = None,
    storage: o.Storage = None,
    data_dir: o.StoredDataDir = None,
    as_json: o.AsJson = False,
) -> None:
    """Rank the training samples of CELL by how likely their label is wrong.

    Of GRID/METHOD with several seeds, every value is the mean over the seeds.

    The score is the mean percentile of the area under the margin, the last loss and the method's
    weight. The margin is the given label's logit less the largest other, which the probe recorded.
    Where the noise was added here, all scores are judged against the truth. The page of --html has
    a small picture of each.
    """
    o.load_plugins(plugins)
    if form not in FORMS:
        raise ConfigError(
            f"--format {form!r}: allowed are {', '.join(FORMS)}{nearest(form, FORMS)}"
        )
    if page is not None and out is not None:
        raise ConfigError(f"--html {page} is where the page goes; leave --out out")
    if sum((form != "table", page is not None, as_json)) > 1:
        raise ConfigError("--format, --html and --json are three forms; give one of them")
    if form == "parquet" and out is None and sys.stdout.isatty():
        raise ConfigError("--format parquet is no text for a terminal; give --out FILE")
    from curvetune.system.progress import working

    with working("ranking the samples", signs(as_json=as_json)):
        from curvetune.analysis.averaged import suspects_of

        folder, images = o.storage_or_default(storage), o.data_dir_or_default(data_dir)
        found = suspects_of(folder, cell, images, score=score, where=tuple(where or ()))
    if page is not None:
        from curvetune.report.pages.suspects import suspects_page

        write_page(page, suspects_page(found, top))
        return
    if form == "table" and out is None and not as_json:
        from curvetune.report.suspects import print_suspects
        from curvetune.system.terminal import plain_console

        print_suspects(found, plain_console(), top)
        return
    with working("writing them", signs(as_json=as_json)):
        content = _content(found, form, top, as_json=as_json)
    _write(content, out)
    if not as_json:
        _tell(found, top)


def _content(found: "Suspects", form: str, top: int, *, as_json: bool) -> bytes:
    """Return the bytes of what was asked for."""
    from curvetune.report import suspects as forms

    if as_json:
        return (json.dumps(forms.suspects_json(found, top), indent=1) + "\n").encode()
    if form == "parquet":
        return forms.parquet(forms.suspects_frame(found, top))
    if form == "cleanlab":
        return forms.cleanlab_frame(found).write_csv().encode()
    if form == "labels":
        return forms.labels_frame(found, top).write_csv().encode()
    if form == "csv":
        return forms.suspects_frame(found, top).write_csv().encode()
    return forms.suspects_text(found, top).encode()


def _write(content: bytes, out: Path | None) -> None:
    if out is None:
        sys.stdout.buffer.write(content)
        sys.stdout.flush()
        return
    try:
        out.write_bytes(content)
    except OSError as error:
        raise StorageError(
            f"--out {out}: cannot be written ({error.strerror}); give a file in a folder that can"
        ) from None


def _tell(found: "Suspects", top: int) -> None:
    """Say on standard error, where people look, how well the scores do."""
    from curvetune.report.suspects import print_scores
    from curvetune.system.terminal import plain_console

    print_scores(found, plain_console(stderr=True), top)
