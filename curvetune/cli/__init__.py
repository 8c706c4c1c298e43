"""The command line: one file per group of commands; each parses, calls one function and prints.

Nothing heavy is imported before a command has read its options, so that `--help` and a wrong
option answer at once.
"""

from typing import Annotated

import typer

import curvetune
from curvetune.cli import (
    check,
    compare,
    doctor,
    explain,
    figures,
    gc,
    grid,
    info,
    offline,
    own_data,
    relabel,
    report,
    retry,
    submit,
    suspects,
    sync,
)
from curvetune.cli.classifier import clean, export, predict
from curvetune.cli.desk import bundle, decide, tune
from curvetune.cli.process import streams
from curvetune.cli.process.home import ensure_home
from curvetune.cli.process.secrets import Guarded, guard_output, print_traceback
from curvetune.errors import CurvetuneError
from curvetune.system.redact import redact

app = typer.Typer(
    name="curvetune",
    cls=Guarded,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"curvetune {curvetune.__version__}")
        raise typer.Exit


@app.callback()
def about(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show it and exit.")
    ] = False,
) -> None:
    """Learn under label noise and class imbalance: grids of Ray Tune trials, tracked by MLflow.

    A cell is one training run: a setting (imbalance and label noise), a method and a seed. A probe
    trains first and records the loss of every sample. To allocate is to train the final classifier.
    MA is the mean accuracy of a method over all settings.

    Exit codes:

    - 0: done
    - 2: wrong options or data
    - 3: some cells failed, or some pictures cannot be read
    - 4: interrupted; run the same command again
    - 5: the storage, Ray or MLflow cannot be used
    - 75: preempted; run it again elsewhere
    """


app.command()(grid.grid)
app.command()(grid.ablate)
app.command()(grid.plan)
app.command()(report.status)
app.command()(report.report)
app.command()(compare.compare)
app.command()(decide.decide)
app.command()(tune.tune)
app.command()(figures.figures)
app.command()(bundle.bundle)
app.command()(bundle.verify)
app.command("import")(bundle.import_)
app.command()(suspects.suspects)
app.command()(clean.clean)
app.command()(predict.predict)
app.command()(export.export)
app.command()(explain.why)
app.command()(explain.show)
app.command()(retry.retry)
app.command()(relabel.relabel)
app.command()(submit.submit)
app.command()(submit.logs)
app.command()(submit.stop)
app.command()(sync.sync)
app.command()(gc.gc)
app.command(context_settings=offline.CONTEXT)(offline.offline)
app.command()(doctor.doctor)
app.command()(check.check)
app.command()(info.methods)
app.command()(info.options)
app.add_typer(own_data.app)
app.command()(info.ui)


def main() -> None:
    """Run a command; an error that is meant for the user is printed without a traceback.

    Nothing that is printed on the way holds a secret (system/redact.py).
    """
    streams.open_streams()
    guard_output()
    ensure_home()
    raise SystemExit(_shown(_run()))


def _run() -> int | str | None:
    """Run a command and return its exit code."""
    try:
        app()
    except SystemExit as end:
        return end.code
    except CurvetuneError as error:
        typer.echo(redact(f"error: {error}"), err=True)
        return error.exit_code
    except Exception as error:
        if not streams.is_of_stdout(error):
            print_traceback(error)
            return 1
    return 0


def _shown(code: int | str | None) -> int | str | None:
    """Return the exit code of a command once it is known whether stdout has all of its output."""
    error = streams.lost()
    reader_left = isinstance(error, BrokenPipeError)
    if error is None or (reader_left and not streams.is_result()):
        return code
    if reader_left:
        return streams.READER_LEFT
    what = f"stdout cannot be written ({error.strerror}), so that what was to be there is missing"
    if streams.is_result():
        typer.echo(f"error: {what}; run it again where there is space", err=True)
        return code or streams.NOT_WRITTEN
    typer.echo(
        f"{what}; the results are in the storage, and `curvetune report` shows them", err=True
    )
    return code
