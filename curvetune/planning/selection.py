"""Which cells a command is about: what the texts of its options mean, and the space they give."""

from collections.abc import Sequence
from dataclasses import dataclass

from curvetune.config.fingerprint import GRID_NAME
from curvetune.errors import ConfigError, printable
from curvetune.planning.space import MAX_CELLS, Space, load_space


@dataclass(frozen=True)
class Selection:
    """Which cells a command is about."""

    space: str
    methods: tuple[str, ...]
    seeds: tuple[int, ...]
    profile: str
    fixed: dict[str, str]
    plugins: tuple[str, ...] = ()
    name: str = ""  # of the grid; that of the space unless given


def parse_selection(
    space: str,
    methods: str,
    seeds: str,
    profile: str,
    fixed: Sequence[str],
    plugins: Sequence[str] = (),
    name: str = "",
) -> Selection:
    """Return what the texts of the options mean.

    Raises:
        ConfigError: one of them means nothing.
    """
    names, numbers, options = parse_names(methods), parse_seeds(seeds), parse_set(fixed)
    if name and not GRID_NAME.fullmatch(name):
        raise ConfigError(
            f"--name {printable(name)!r}: a file is named after it; allowed are letters from a to "
            f"z, digits, '.', '_' and '-', at most 128, the first no sign: --name digits-2"
        )
    return Selection(space, names, numbers, profile, options, tuple(plugins), name)


def parse_names(text: str) -> tuple[str, ...]:
    """Return the names of a comma-separated list, each once."""
    return tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))


def parse_seeds(text: str) -> tuple[int, ...]:
    """Return the seeds that "0,1,2", "0-4" or "0-2,7" stands for, each once.

    Raises:
        ConfigError: it stands for none.
    """
    seeds: dict[int, None] = {}
    for part in parse_names(text):
        first, dash, last = part.partition("-")
        if not _is_seed(first) or (dash and not _is_seed(last)):
            raise _bad_seeds(text, f"{printable(part)!r} is not a seed")
        if dash and int(last) < int(first):
            raise _bad_seeds(text, f"{part!r} counts down")
        found = range(int(first), int(last or first) + 1)
        if len(seeds) + len(found) > MAX_CELLS:
            raise _bad_seeds(text, f"these are more than {MAX_CELLS:,}")
        seeds |= dict.fromkeys(found)
    return tuple(seeds)


def parse_set(texts: Sequence[str]) -> dict[str, str]:
    """Return each key of `--set` with its text.

    Raises:
        ConfigError: one is not KEY=VALUE, or a key is given twice.
    """
    fixed: dict[str, str] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        key = key.strip()
        if not key or not equals:
            raise ConfigError(
                f"--set {printable(text)!r}: write KEY=VALUE, e.g. --set imbalance=20"
            )
        if key in fixed:
            raise ConfigError(
                printable(
                    f"--set {key}: given twice ({fixed[key]} and {value}); a list is an axis: "
                    f"--set {key}=[{fixed[key]},{value}]"
                )
            )
        fixed[key] = value
    return fixed


def selected_space(selection: Selection) -> Space:
    """Return the cells that `selection` names, all of one source of data.

    Raises:
        ConfigError: the selection or its space is not right.
    """
    space = load_space(
        selection.space,
        profile=selection.profile,
        methods=selection.methods,
        seeds=selection.seeds,
        fixed=selection.fixed,
        plugins=selection.plugins,
        name=selection.name,
    )
    names = sorted({cell.data.name for cell in space.cells})
    if len(names) > 1:
        raise ConfigError(
            f"{selection.space}: a grid is about one source of data, got {', '.join(names)}; "
            f"choose one with --set data.name={names[0]}"
        )
    sizes = sorted({cell.data.image_size for cell in space.cells})
    if len(sizes) > 1:
        raise ConfigError(
            f"{selection.space}: a grid is about images of one size, got "
            f"{', '.join(map(str, sizes))}; choose one with --set image_size={sizes[0]}"
        )
    variants = sorted({str(cell.data.variant) for cell in space.cells})
    if len(variants) > 1:
        raise ConfigError(
            f"{selection.space}: a grid is about one variant of {names[0]}, got "
            f"{', '.join(variants)}; choose one with --set data.variant={variants[0]}"
        )
    return space


def _is_seed(text: str) -> bool:
    return text.isdecimal() and len(text) < 19  # below 2^63, which CellConfig allows


def _bad_seeds(text: str, reason: str) -> ConfigError:
    return ConfigError(f"--seeds {printable(text)!r}: {reason}; write 0,1,2 or 0-4 or 0-2,7")
