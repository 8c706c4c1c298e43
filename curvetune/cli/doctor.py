"""`curvetune doctor`: whether a grid can run here."""

import json

import typer

from curvetune.cli import options as o
from curvetune.cli.run import signs
from curvetune.planning.options import check_address

UNFIT = 5  # as where storage or backend cannot be reached


def doctor(
    plugins: o.Plugins = None,
    storage: o.Storage = None,
    data_dir: o.DataDir = None,
    tracking_uri: o.TrackingUri = None,
    address: o.Address = None,
    as_json: o.AsJson = False,
) -> None:
    """Check whether a grid can run here, and say what to do where it cannot.

    It takes seconds, starts no cluster, and changes nothing. Exit code 5 if a check failed.
    """
    o.load_plugins(plugins)
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
