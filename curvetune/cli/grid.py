"""`curvetune grid`, `curvetune ablate` and `curvetune plan`."""

import json
from typing import Annotated

import typer

from curvetune.cli import options as o
from curvetune.cli.run import Places, make_plan, run_grid


def grid(
    space: o.Space,
    methods: o.Methods = "",
    seeds: o.Seeds = "",
    profile: o.Profile = "release",
    fixed: o.Fixed = None,
    data_dir: o.DataDir = None,
    on_bad: o.OnBad = "fail",
    storage: o.Storage = None,
    tracking_uri: o.TrackingUri = None,
    log_models: o.LogModels = False,
    notify: o.Notify = None,
    address: o.Address = None,
    gpus_per_trial: o.GpusPerTrial = None,
    cpus_per_trial: o.CpusPerTrial = None,
    max_concurrent: o.MaxConcurrent = None,
    checkpoint_every: o.CheckpointEvery = 5,
    hang_after: o.HangAfter = 3600.0,
    as_json: o.AsJson = False,
) -> None:
    """Run every cell of SPACE that is not done yet, and show the mean accuracies.

    Run the same command again to go on after an interruption. `curvetune plan` shows beforehand
    what would run.
    """
    from curvetune.planning.selection import parse_selection

    selection = parse_selection(space, methods, seeds, profile, fixed or [])
    launch = o.parse_launch(
        address, gpus_per_trial, cpus_per_trial, max_concurrent, checkpoint_every, hang_after
    )
    places = Places(
        o.data_dir_or_default(data_dir),
        o.storage_or_default(storage),
        tracking_uri,
        notify,
        on_bad,
        log_models,
    )
    run_grid(selection, places, launch, as_json=as_json)


def ablate(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="skip-layers, embedding-dim, removed-losses, meta-size, backbone or noise-kind.",
        ),
    ],
    methods: o.Methods = "",
    seeds: o.Seeds = "",
    profile: o.Profile = "release",
    fixed: o.Fixed = None,
    data_dir: o.DataDir = None,
    on_bad: o.OnBad = "fail",
    storage: o.Storage = None,
    tracking_uri: o.TrackingUri = None,
    log_models: o.LogModels = False,
    notify: o.Notify = None,
    address: o.Address = None,
    gpus_per_trial: o.GpusPerTrial = None,
    cpus_per_trial: o.CpusPerTrial = None,
    max_concurrent: o.MaxConcurrent = None,
    checkpoint_every: o.CheckpointEvery = 5,
    hang_after: o.HangAfter = 3600.0,
    as_json: o.AsJson = False,
) -> None:
    """Run one of the paper's ablations: `grid` on the built-in space ablate-NAME.

    All values of the option share one probe per bias setting and seed. skip-layers also times the
    steps, once the cells are done.
    """
    from curvetune.planning.ablations import TIMED, ablation_space
    from curvetune.planning.selection import parse_selection

    selection = parse_selection(ablation_space(name), methods, seeds, profile, fixed or [])
    launch = o.parse_launch(
        address, gpus_per_trial, cpus_per_trial, max_concurrent, checkpoint_every, hang_after
    )
    places = Places(
        o.data_dir_or_default(data_dir),
        o.storage_or_default(storage),
        tracking_uri,
        notify,
        on_bad,
        log_models,
    )
    run_grid(selection, places, launch, as_json=as_json, time_steps=name in TIMED)


def plan(
    space: o.Space,
    methods: o.Methods = "",
    seeds: o.Seeds = "",
    profile: o.Profile = "release",
    fixed: o.Fixed = None,
    data_dir: o.DataDir = None,
    on_bad: o.OnBad = "fail",
    storage: o.Storage = None,
    gpus_per_trial: o.GpusPerTrial = None,
    cpus_per_trial: o.CpusPerTrial = None,
    max_concurrent: o.MaxConcurrent = None,
    device: o.Device = None,
    calibrate: o.Calibrate = False,
    as_json: o.AsJson = False,
) -> None:
    """Show what `grid SPACE` would run and reuse, and what that costs. Starts nothing.

    Time is estimated from epochs of earlier cells in the storage, on the same kind of device.
    """
    from curvetune.cli.pricing import price_plan
    from curvetune.planning.ablations import shared_probes
    from curvetune.planning.selection import parse_selection

    selection = parse_selection(space, methods, seeds, profile, fixed or [])
    options = o.parse_launch(None, gpus_per_trial, cpus_per_trial, max_concurrent, 5, 3600.0)
    places = Places(o.data_dir_or_default(data_dir), o.storage_or_default(storage), on_bad=on_bad)
    result = make_plan(selection, places)
    price = price_plan(result, places, options, device=device, calibrate=calibrate)
    shared = shared_probes(result, selection)
    if as_json:
        more = {"price": price.to_json(), "probes_shared_with_ablations": shared}
        typer.echo(json.dumps({**result.to_json(), **more}, indent=1))
        return
    from curvetune.cli.plan_table import print_plan, print_shared
    from curvetune.cli.price_table import print_price
    from curvetune.system.terminal import plain_console

    print_plan(result, plain_console())
    print_shared(shared, plain_console())
    print_price(price, plain_console())
