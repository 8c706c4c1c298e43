"""Options that belong together, declared once: what is run, where it is, who hears, how it runs.

A group is a function. Its parameters are options, and what it returns is what a command gets:

    @with_groups(places=places)
    def plan(space: o.Space, *, places: Places) -> None: ...

has the options of `places` in place of that parameter.
"""

import functools
import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from curvetune.cli import options as o
from curvetune.places import Places, Telling
from curvetune.planning.options import parse_launch
from curvetune.planning.resources import CHECKPOINT_EVERY, HANG_AFTER_S, LaunchOptions

if TYPE_CHECKING:
    from curvetune.planning.selection import Selection

Command = TypeVar("Command", bound=Callable[..., None])
Group = TypeVar("Group")
KEYWORD = inspect.Parameter.KEYWORD_ONLY


@dataclass(frozen=True)
class Choice:
    """Which cells of a space; the texts of the options."""

    methods: str
    seeds: str
    profile: str
    fixed: Sequence[str]
    plugins: Sequence[str] = ()
    name: str = ""

    def of(self, space: str) -> "Selection":
        """Return the selection from a space.

        Raises:
            ConfigError: one of the texts means nothing.
        """
        from curvetune.planning.selection import parse_selection

        return parse_selection(
            space, self.methods, self.seeds, self.profile, self.fixed, self.plugins, self.name
        )


def choice(
    methods: o.Methods = "",
    seeds: o.Seeds = "",
    profile: o.Profile = "release",
    fixed: o.Fixed = None,
    plugins: o.Plugins = None,
    grid_name: o.Name = "",
) -> Choice:
    """Which cells of a space."""
    return Choice(methods, seeds, profile, fixed or (), plugins or (), grid_name)


def places(
    data_dir: o.DataDir = None, on_bad: o.OnBad = "fail", storage: o.Storage = None
) -> Places:
    """Where the images are, and where the results are kept."""
    return Places(o.data_dir_or_default(data_dir), o.storage_or_default(storage), on_bad)


def telling(
    tracking_uri: o.TrackingUri = None, log_models: o.LogModels = False, notify: o.Notify = None
) -> Telling:
    """Who hears of a grid."""
    return Telling(tracking_uri, notify, log_models)


def room(
    gpus_per_trial: o.GpusPerTrial = None,
    cpus_per_trial: o.CpusPerTrial = None,
    max_concurrent: o.MaxConcurrent = None,
    data_cpus: o.DataCpus = None,
    accelerator: o.Accelerator = None,
) -> LaunchOptions:
    """What a trial asks for."""
    asked = gpus_per_trial, cpus_per_trial, max_concurrent
    return parse_launch(None, *asked, CHECKPOINT_EVERY, HANG_AFTER_S, data_cpus, accelerator)


def launch(
    address: o.Address = None,
    gpus_per_trial: o.GpusPerTrial = None,
    cpus_per_trial: o.CpusPerTrial = None,
    max_concurrent: o.MaxConcurrent = None,
    checkpoint_every: o.CheckpointEvery = CHECKPOINT_EVERY,
    hang_after: o.HangAfter = HANG_AFTER_S,
    data_cpus: o.DataCpus = None,
    accelerator: o.Accelerator = None,
    wait: o.Wait = None,
    engine: o.EngineKind = "graphs",
) -> LaunchOptions:
    """Where and with what trials run."""
    asked = gpus_per_trial, cpus_per_trial, max_concurrent
    where = data_cpus, accelerator, wait
    return parse_launch(address, *asked, checkpoint_every, hang_after, *where, engine=engine)


@dataclass(frozen=True)
class Typed:
    """Options as they were typed, for a command that is run elsewhere.

    Args:
        values: by the names of the groups' parameters.
        options: how each is written, of those that are not at their default.
    """

    values: Mapping[str, Any]
    options: Mapping[str, Sequence[str]]

    def of(self, group: Callable[..., Group]) -> Group:
        """Return what a group makes of them here.

        Raises:
            ConfigError: one of them means nothing.
        """
        names = inspect.signature(group).parameters
        return group(**{name: self.values[name] for name in names if name in self.values})

    def arguments(self, without: Collection[str] = ()) -> list[str]:
        """Return them as a command line has them, but for some parameters."""
        return [
            word for name, words in self.options.items() if name not in without for word in words
        ]


def typed(*groups: Callable[..., Any], without: Collection[str] = ()) -> Callable[..., Typed]:
    """Return a group of all options of other groups, but for some parameters, as `Typed`."""
    found = {
        name: parameter
        for group in groups
        for name, parameter in inspect.signature(group).parameters.items()
        if name not in without
    }

    def group(**values: Any) -> Typed:
        given = {k: v for k, v in values.items() if v != found[k].default}
        return Typed(values, {name: _written(found[name], v) for name, v in given.items()})

    group.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [parameter.replace(kind=KEYWORD) for parameter in found.values()]
    )
    return group


def _written(parameter: inspect.Parameter, value: Any) -> list[str]:
    """Return an option of a value as it is typed; a flag is only its name."""
    option = parameter.annotation.__metadata__[0].default  # typer's name for the first word given
    if isinstance(value, bool):
        return [option] if value else []
    values = value if isinstance(value, list) else [value]
    return [word for one in values for word in (option, str(one))]


def with_groups(**groups: Callable[..., Any]) -> Callable[[Command], Callable[..., None]]:
    """Let a command have the options of each group in place of the parameter of that name."""
    options = {name: inspect.signature(group).parameters for name, group in groups.items()}

    def decorated(command: Command) -> Callable[..., None]:
        @functools.wraps(command)
        def run(**given: Any) -> None:
            for name, group in groups.items():
                given[name] = group(**{option: given.pop(option) for option in options[name]})
            command(**given)

        own = inspect.signature(command).parameters
        parameters = [p for name, p in own.items() if name not in groups]
        for found in options.values():
            parameters += [p.replace(kind=KEYWORD) for p in found.values()]
        parameters.sort(key=lambda p: p.kind)  # keyword-only ones come last
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {p.name: p.annotation for p in parameters}
        return run

    return decorated
