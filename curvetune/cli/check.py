"""`curvetune check`: whether a plugin keeps what the loop relies on."""

import json
from typing import TYPE_CHECKING, Annotated

import typer

from curvetune.cli import options as o
from curvetune.errors import ConfigError

if TYPE_CHECKING:
    from curvetune.conformance.verdict import Verdict
    from curvetune.plugins.code import Plugin

UNFIT = 1


def check(
    plugin: Annotated[
        str, typer.Argument(metavar="PLUGIN", help="A file that ends in .py, or a module.")
    ],
    data_dir: o.StoredDataDir = None,
    as_json: o.AsJson = False,
) -> None:
    """Try all that PLUGIN registers on small problems, and say what breaks and why.

    A method: its loss falls, it resumes bit for bit, it never waits for the device, and so on. It
    takes seconds and keeps nothing. Exit code 1 if something breaks.
    """
    from curvetune.plugins.load import load_plugins

    (found,) = load_plugins([plugin])
    from curvetune.conformance.verdict import check_plugin, verdict_json

    verdicts = []
    for verdict in check_plugin(found, o.data_dir_or_default(data_dir)):
        verdicts.append(verdict)
        if not as_json:
            _print(verdict)
    if not verdicts:
        raise ConfigError(
            f"{plugin}: registers nothing; mark its builder with @method(…), @model(…), "
            f"@source(…) or @transform(…) of curvetune.plugins"
        )
    if as_json:
        typer.echo(json.dumps(verdict_json(found, verdicts), indent=1))
    else:
        _print_end(found, verdicts)
    if not all(verdict.passed for verdict in verdicts):
        raise typer.Exit(UNFIT)


def _print(verdict: "Verdict") -> None:
    word = "ok  " if verdict.passed else "FAIL"
    typer.echo(f"{word} {verdict.kind} {verdict.name}: {verdict.check}")
    if not verdict.passed:
        typer.echo(f"     → {verdict.reason}")


def _print_end(plugin: "Plugin", verdicts: "list[Verdict]") -> None:
    failed = sum(not verdict.passed for verdict in verdicts)
    seconds = sum(verdict.seconds for verdict in verdicts)
    what = f"{failed} of {len(verdicts)} checks failed" if failed else "all checks passed"
    typer.echo(f"\n{plugin.ref}: {what}, in {seconds:.1f} s")
