"""`curvetune doctor`: whether a grid can run here."""

import json
from typing import Annotated

import typer

from curvetune.cli import options as o
from curvetune.cli.run import signs
from curvetune.errors import BackendError
from curvetune.planning.options import check_address

UNFIT = 5  # as where storage or backend cannot be reached


def doctor(
    plugins: o.Plugins = None,
    storage: o.Storage = None,
    data_dir: o.DataDir = None,
    tracking_uri: o.TrackingUri = None,
    address: o.Address = None,
    gpu: Annotated[
        bool,
        typer.Option(
            "--gpu",
            help="Try the first GPU instead, for two minutes: every method eager and from CUDA "
            "graphs, memory that runs out, two cells at once, 16 bits. Prints one table.",
        ),
    ] = False,
    as_json: o.AsJson = False,
) -> None:
    """Check whether a grid can run here, and say what to do where it cannot.

    It takes seconds, starts no cluster, and changes nothing. Exit code 5 if a check failed.
    """
    o.load_plugins(plugins)
    if gpu:
        _try_gpu(as_json=as_json)
        return
    check_address(address)
    folder, images = o.storage_or_default(storage), o.data_dir_or_default(data_dir)
    from curvetune.status.doctor import Subject, examine, findings_json, print_findings
    from curvetune.system.progress import working
    from curvetune.tune.address import chosen_address

    cluster, _ = chosen_address(address)
    with working("checking", signs(as_json=as_json)) as at:
        findings = examine(Subject(folder, images, tracking_uri, cluster), at=at)
    if as_json:
        typer.echo(json.dumps(findings_json(findings), indent=1))
    else:
        from curvetune.system.terminal import plain_console

        print_findings(findings, plain_console())
    if any(finding.status == "fail" for finding in findings):
        raise typer.Exit(UNFIT)


def _try_gpu(*, as_json: bool) -> None:
    """Try everything on the first GPU, and print what came of it."""
    import torch

    from curvetune.conformance.gpu import facts, markdown, try_device
    from curvetune.conformance.gpu.rows import SCHEMA_VERSION
    from curvetune.system.progress import working

    if not torch.cuda.is_available():
        raise BackendError(
            "--gpu: PyTorch finds no GPU here; `curvetune doctor` says why, and cells train on the "
            "CPU without one"
        )
    device = torch.device("cuda", 0)
    with working("trying the GPU", signs(as_json=as_json)) as at:
        about, rows = facts(device), [*try_device(device, at=at)]
    if as_json:
        found = {"schema_version": SCHEMA_VERSION, **about, "rows": [r.to_json() for r in rows]}
        typer.echo(json.dumps(found, indent=1))
    else:
        typer.echo(markdown(about, rows))
    if any(row.status == "fail" for row in rows):
        raise typer.Exit(UNFIT)
