"""`curvetune grid`, `curvetune ablate` and `curvetune plan`."""

from typing import Annotated

import typer

from curvetune.cli import groups
from curvetune.cli import options as o
from curvetune.cli.groups import Choice, with_groups
from curvetune.cli.run import run_and_tell, signs, tell
from curvetune.places import Places, Telling
from curvetune.planning.resources import LaunchOptions


@with_groups(
    choice=groups.choice, places=groups.places, telling=groups.telling, launch=groups.launch
)
def grid(
    space: o.Space,
    *,
    choice: Choice,
    places: Places,
    telling: Telling,
    launch: LaunchOptions,
    as_json: o.AsJson = False,
) -> None:
    """Run every cell of SPACE that is not done yet, and show the mean accuracies.

    Run the same command again to go on after an interruption. `curvetune plan` shows beforehand
    what would run.
    """
    from curvetune.run import make_plan

    selection = choice.of(space)
    run_and_tell(
        lambda: make_plan(selection, places, tell), places, telling, launch, as_json=as_json
    )


@with_groups(
    choice=groups.choice, places=groups.places, telling=groups.telling, launch=groups.launch
)
def ablate(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="skip-layers, embedding-dim, removed-losses, meta-size, backbone or noise-kind.",
        ),
    ],
    *,
    choice: Choice,
    places: Places,
    telling: Telling,
    launch: LaunchOptions,
    as_json: o.AsJson = False,
) -> None:
    """Run one of the paper's ablations: `grid` on the built-in space ablate-NAME.

    All values of the option share one probe per bias setting and seed. skip-layers also times the
    steps, once the cells are done.
    """
    from curvetune.planning.ablations import TIMED, ablation_space
    from curvetune.run import make_plan

    selection = choice.of(ablation_space(name))
    run_and_tell(
        lambda: make_plan(selection, places, tell),
        places,
        telling,
        launch,
        as_json=as_json,
        time_steps=name in TIMED,
    )


@with_groups(choice=groups.choice, places=groups.places, room=groups.room)
def plan(
    space: o.Space,
    *,
    choice: Choice,
    places: Places,
    room: LaunchOptions,
    device: o.Device = None,
    calibrate: o.Calibrate = False,
    as_json: o.AsJson = False,
) -> None:
    """Show what `grid SPACE` would run and reuse, and what that costs. Starts nothing.

    Time is estimated from epochs of earlier cells in the storage, on the same kind of device.
    """
    from curvetune.planning.ablations import shared_probes
    from curvetune.pricing import price_plan
    from curvetune.run import make_plan
    from curvetune.system.progress import working

    selection = choice.of(space)
    with working("looking at the images and the storage", signs(as_json=as_json)):
        result = make_plan(selection, places, tell)
        price = price_plan(result, places, room, device=device, calibrate=calibrate, tell=tell)
        shared = shared_probes(result, selection)
    if as_json:
        from curvetune.status.plan_table import planned_settings
        from curvetune.system.json_text import json_text

        more = {
            "settings": planned_settings(result),
            "price": price.to_json(),
            "probes_shared_with_ablations": shared,
        }
        typer.echo(json_text({**result.to_json(), **more}))
        return
    from curvetune.status.plan_table import print_plan, print_shared
    from curvetune.status.price_table import print_price
    from curvetune.system.terminal import plain_console

    print_plan(result, plain_console())
    print_shared(shared, plain_console())
    print_price(price, plain_console())
