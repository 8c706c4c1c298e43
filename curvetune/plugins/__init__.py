"""What the author of a plugin imports, to add a method, a network, a source or an augmentation.

    from curvetune.plugins import MethodConfig, method

    __version__ = "1"

    class MyConfig(MethodConfig): ...       # the options, with `name` and `source`

    @method(MyConfig)
    def build(config, parts): ...           # returns a curvetune.methods.base.Method

`curvetune grid digits --plugin my_method.py` then knows it, in every worker too. What a plugin
registers has the plugin's name, version and digest of source in the identity of the cells that use
it (config/plugins.py). docs/plugins.md tells it whole, examples/own_method has one to copy.
"""

from collections.abc import Callable, MutableMapping
from typing import Any, TypeVar

from curvetune.config.cell import METHOD_SECTIONS, add_method
from curvetune.config.data import DATA_NAMES
from curvetune.config.load import validate
from curvetune.config.method import (
    MetaSetConfig,
    MethodConfig,
    NoiseRateConfig,
    PretrainedConfig,
)
from curvetune.config.networks import MODEL_NAMES, TORCHVISION_NAMES
from curvetune.config.plugins import (
    PLUGINS,
    HasRef,
    PluginRef,
    Registered,
    Registry,
    Transform,
)
from curvetune.config.tunable import Choice, LogUniform, Uniform, check_ranges
from curvetune.errors import ConfigError

__all__ = [
    "Choice",
    "LogUniform",
    "MetaSetConfig",
    "MethodConfig",
    "NoiseRateConfig",
    "PretrainedConfig",
    "Uniform",
    "method",
    "model",
    "source",
    "transform",
]

SOURCE_CALLS = ("load", "train_labels", "sizes", "digest")

T = TypeVar("T", bound=HasRef)
F = TypeVar("F", bound=Callable[..., Any])


def method(section: type[MethodConfig]) -> Callable[[F], F]:
    """Register the builder of a method: (section, `curvetune.methods.Parts`) to a `Method`.

    Args:
        section: its options, with limits; `name` is a Literal with a default, and `source` says
            where the method is from.

    Raises:
        ConfigError: the section is not right, or the name is taken.
    """
    name = _name_of(section)

    def registered(build: F) -> F:
        ref = _current(section.__module__)
        _check_free("methods", name, [n for n in METHOD_SECTIONS if n not in PLUGINS.methods], ref)
        PLUGINS.methods[name] = Registered(ref, build)
        add_method(section, replace=True)
        return build

    return registered


def model(name: str) -> Callable[[F], F]:
    """Register what builds a classifier: (num_classes, in_channels) to a `torch.nn.Module`.

    `.stages`, an `nn.Sequential` that is the whole network, is optional. Without it stages are
    derived, if the network is a chain of its parts. `skip_layers` needs some.

    Raises:
        ConfigError: the name is taken.
    """

    def registered(build: F) -> F:
        taken = (*MODEL_NAMES, *TORCHVISION_NAMES)
        _put(PLUGINS.models, "models", name, taken, Registered(_of(build), build))
        return build

    return registered


def source(name: str) -> Callable[[Any], Any]:
    """Register where images come from.

    It is a function of the user's --data-dir (None if not given) that returns a
    `curvetune.data.source.Dataset`; or a class with the four calls of
    `curvetune.data.source.Source`, which can then answer without loading everything.

    Raises:
        ConfigError: the name is taken, or a class lacks one of the calls.
    """

    def registered(made: Any) -> Any:
        found = made() if isinstance(made, type) else made
        lacking = [call for call in SOURCE_CALLS if not hasattr(found, call)]
        if lacking and (isinstance(made, type) or not callable(made)):
            raise ConfigError(
                f"source of images {name!r}: {getattr(made, '__name__', made)!r} has no "
                f"{', '.join(lacking)}; allowed is a class with {', '.join(SOURCE_CALLS)}, or one "
                f"function that returns all images"
            )
        _put(PLUGINS.sources, "sources", name, DATA_NAMES, Registered(_of(made), found))
        return made

    return registered


def transform(name: str, *, draws: int = 0) -> Callable[[F], F]:
    """Register an augmentation: images (B, C, H, W) and numbers (B, draws) to images.

    Images are float32 from 0 to 255, cropped and mirrored already. All that is random comes from
    the numbers, uniform from 0 to 1: so a run that resumes goes on bit for bit.

    Raises:
        ConfigError: the name is taken, or `draws` is negative.
    """
    if draws < 0:
        raise ConfigError(f"transform {name!r}: draws={draws}; allowed is 0 or more")

    def registered(apply: F) -> F:
        _put(PLUGINS.transforms, "transforms", name, (), Transform(_of(apply), apply, draws))
        return apply

    return registered


def _name_of(section: type[MethodConfig]) -> str:
    """Return the name of a method from its section.

    Raises:
        ConfigError: the section is not one that a cell can have.
    """
    shown = getattr(section, "__name__", repr(section))
    if not (isinstance(section, type) and issubclass(section, MethodConfig)):
        raise ConfigError(f"@method({shown}): allowed is a class derived from MethodConfig")
    name = section.model_fields["name"].default if "name" in section.model_fields else None
    if not isinstance(name, str) or not name:
        raise ConfigError(
            f"{shown} has no name; give it one as an option: name: Literal['my-method'] = "
            f"'my-method'"
        )
    if not getattr(section, "source", ""):
        raise ConfigError(
            f"{shown} has no source; say where the method is from: source: ClassVar[str] = '…'"
        )
    own = section.model_fields.keys() - MethodConfig.model_fields.keys()
    if taken := sorted(option for option in own if hasattr(MethodConfig, option)):
        raise ConfigError(
            f"{shown}: option {taken[0]!r} has the name of something that every section has; give "
            f"the option another name"
        )
    # pydantic takes defaults as they are, so they are given as if a user had
    defaults = dict(section.model_construct())
    validate(defaults, section, f"{shown}: its defaults do not validate; give each one that does")
    check_ranges(shown, section.tunable, section.model_fields)
    return name


def _put(
    table: MutableMapping[str, T], kind: str, name: str, taken: tuple[str, ...], value: T
) -> None:
    _check_free(kind, name, list(taken), value.ref)
    table[name] = value


def _check_free(kind: str, name: str, own: list[str], ref: PluginRef) -> None:
    """Refuse a name that another plugin, or curvetune itself, has."""
    word = Registry.KINDS[kind]
    if name in own:
        raise ConfigError(
            f"plugin {ref.name}: {word} {name!r} is one of curvetune's own; give yours another name"
        )
    other = getattr(PLUGINS, kind).get(name)
    if other is not None and other.ref.name != ref.name:
        raise ConfigError(
            f"plugin {ref.name}: {word} {name!r} is that of {other.ref} already; rename one of them"
        )


def _of(made: Any) -> PluginRef:
    return _current(getattr(made, "__module__", ""))


def _current(module: str) -> PluginRef:
    """Return the plugin that is being loaded, or else that whose file is being run."""
    from curvetune.plugins.load import plugin_of_module

    return plugin_of_module(module)
