"""`curvetune compare`: is one grid, or one method, better than another?"""

from typing import Annotated

import typer

from curvetune.cli import options as o
from curvetune.cli.report import print_form, selected, write_page


def compare(
    a: Annotated[str, typer.Argument(metavar="A", help="A grid; or a method, with --in.")],
    b: Annotated[
        str,
        typer.Argument(
            metavar="B", help="Another grid or method. Shown is B − A: above 0, B is better."
        ),
    ],
    grid: Annotated[
        str | None,
        typer.Option("--in", "--grid", metavar="GRID", help="Compare two methods of this grid."),
    ] = None,
    form: Annotated[
        str,
        typer.Option(
            "--format", metavar="FORM", help="table, or as text: markdown, csv, json, latex, html."
        ),
    ] = "table",
    select: o.Select = "last",
    page: o.Html = None,
    storage: o.Storage = None,
    as_json: o.AsJson = False,
) -> None:
    """Compare two grids method by method, or with `--in GRID` two methods of one grid.

    Cells of the same setting and seed are paired. Shown are the mean difference, its 95 % interval,
    Wilcoxon's p value and the number of pairs. For two grids it also says in which options their
    cells differ.
    """
    from curvetune.report.compare import compare_grids, compare_methods
    from curvetune.report.document import as_html

    chosen = selected(select)
    folder = o.storage_or_default(storage)
    if grid is None:
        shown = compare_grids(folder, a, b, chosen)
    else:
        shown = compare_methods(folder, grid, a, b, chosen)
    if page is not None:
        write_page(page, as_html(shown))
        return
    print_form(shown, "json" if as_json else form)
