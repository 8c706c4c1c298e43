"""What `--set KEY=VALUE` means: VALUE is YAML, as in a space.

imbalance=20                     a number, text, true, false or null: the one value
imbalance=[1,20]                 a list is an axis: cells of each
allocate.milestones=[10,15]      but one value where the option takes nothing but lists
allocate.milestones=[[10],[15]]  and there a list of lists is an axis
allocate={lr: 0.05, warmup: 0}   a mapping: each of its options as if it were set alone
"""

from collections.abc import Iterator, Mapping
from typing import Any

from curvetune.config.kinds import is_section, takes_lists_only, takes_no_text
from curvetune.config.load import full_key, parse_yaml
from curvetune.errors import ConfigError, printable

ORIGIN = "--set"


def axes_of(fixed: Mapping[str, str]) -> dict[str, list[Any]]:
    """Return `--set` as axes: each full key with its values.

    Raises:
        ConfigError: a text is no YAML, a key is none, or an option is set twice.
    """
    axes: dict[str, list[Any]] = {}
    for key, text in fixed.items():
        for full, value in _options(full_key(key, ORIGIN), _value(key, text)):
            if full in axes:
                raise ConfigError(
                    f"{ORIGIN}: {key!r} is given twice, since it is {full}; leave one out"
                )
            _check_commas(full, value)
            axes[full] = values_of(full, value)
    return axes


def values_of(key: str, value: Any) -> list[Any]:
    """Return the values of an axis that is written as `value`: a list, or the only one."""
    if not isinstance(value, list):
        return [value]
    is_axis = value and all(isinstance(one, list) for one in value)
    return [value] if takes_lists_only(key) and not is_axis else value


def _value(key: str, text: str) -> Any:
    try:
        return parse_yaml(text, "YAML")
    except ConfigError as error:
        raise ConfigError(
            f"{ORIGIN} {printable(key)}: {printable(text)!r} is not a YAML value; text with marks "
            f"of YAML needs quotes of its own: --set '{printable(key)}=\"…\"' ({error})"
        ) from None


def _options(key: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Yield each option that is set, a mapping's one by one."""
    if "." in key or not is_section(key):
        yield key, value
    elif isinstance(value, Mapping) and value:  # an empty one would set nothing, in silence
        for name, inner in value.items():
            yield full_key(f"{key}.{name}", f"{ORIGIN} {key}"), inner
    else:
        raise ConfigError(
            f"{ORIGIN} {key}={printable(value)!r}: {key} has options; set one of them, "
            f"{key}.NAME=VALUE, or several, {key}={{NAME: VALUE, …}}"
            + ("; --methods chooses methods" if key == "method" else "")
        )


def _check_commas(key: str, value: Any) -> None:
    """Refuse 1,20, which YAML takes for a text, where only numbers can be meant."""
    if isinstance(value, str) and "," in value and takes_no_text(key):
        raise ConfigError(
            f"{ORIGIN} {key}={printable(value)}: a list has brackets: {key}=[{printable(value)}]"
        )
