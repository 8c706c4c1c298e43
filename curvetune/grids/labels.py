"""What the cells of a grid are called: their bias setting, and their method's label.

A setting is what MA is a mean over. A label is the method's name with those of its options that
differ within the grid, `curvenet skip_layers=1`, so that no two rows of a table mean the same.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from curvetune.config import HUMAN
from curvetune.config.data import is_biased_already
from curvetune.errors import printable
from curvetune.grids.own import Sizes, own_imbalance, ratio

Config = Mapping[str, Any]  # a cell's config as grids/<name>.json has it

OF_THE_SETTING = frozenset(
    {
        "data.name",
        "data.per_class_limit",
        "data.train_limit",
        "data.test_limit",
        "data.variant",
        "data.validation",
        "model.name",
        "bias.imbalance",
        "bias.noise",
        "bias.noise_rate",
    }
)
REAL = "real"  # the kind of noise that is not added, and that nobody knows
GIVEN = HUMAN | {REAL}  # the kinds that have no rate, since the labels come with the data
# what decides no number, or goes without saying; weights have a digest beside their place
NO_OPTION = OF_THE_SETTING | {
    "seed",
    "method.name",
    "model.weights",
    "data.residence",
    "bias.labels_digest",
}
WHERE = tuple(sorted(OF_THE_SETTING | {"seed"}))
NOTHING = "null"  # the text of an option that a cell does not have

Flat = dict[str, str]  # the dotted keys of a section, with their values as text
Sections = dict[str, Flat]  # of a cell


@dataclass(frozen=True)
class Setting:
    """One point of the bias grid: the images, the classifier and what is wrong with the labels."""

    data: str
    model: str
    imbalance: float  # 1 leaves data that has one of its own as it is
    noise: str | None  # None without noise, whose kind then decides nothing
    noise_rate: float  # 0 of labels that come with the data
    is_own: bool = False  # whether the data has an imbalance and wrong labels of its own
    own_imbalance: float | None = field(default=None, compare=False)  # as measured, if it was
    own_noise: str | None = None  # the share of wrong labels that the data is known by


def setting_of(config: Config, sizes: Sizes | None = None) -> Setting:
    """Return the setting of a cell's config.

    Args:
        sizes: training images of each class of its data, (K,), if somebody counted them.
    """
    data, bias = config["data"], config["bias"]
    limits = [
        f"{key}={data[key]}"
        for key in ("variant", "per_class_limit", "train_limit", "test_limit", "validation")
        if data.get(key) is not None
    ]
    is_own = is_biased_already(str(data["name"]))
    has_rate = str(data["name"]).startswith("cnwl_") and data.get("variant") is not None
    return Setting(
        data=printable(" ".join([data["name"], *limits])),
        model=printable(config["model"]["name"]),
        imbalance=float(bias["imbalance"]),
        noise=printable(bias["noise"]) if bias["noise_rate"] > 0 or is_given(bias) else None,
        noise_rate=float(bias["noise_rate"]),
        is_own=is_own,
        own_imbalance=own_imbalance(sizes, data.get("per_class_limit")) if is_own else None,
        own_noise=printable(data["variant"]) if has_rate else None,
    )


def is_given(bias: Config) -> bool:
    """Say of a config's bias whether its wrong labels come with the data."""
    return bool(bias["noise"] in GIVEN)


def setting_words(setting: Setting, among: Sequence[Setting]) -> dict[str, str]:
    """Return what is worth saying of `setting`: of data, model and noise kind, what differs.

    This is how a setting is said everywhere. Of data with an imbalance of its own that is what was
    measured, "as it is, 12:1", and what wrong labels it has nobody knows.
    """
    kinds = {other.noise for other in among if other.noise is not None}
    noise = noise_words(setting, of_kind=len(kinds) > 1)
    words = {"imbalance": imbalance_words(setting), "noise": noise}
    for key in ("model", "data"):
        if len({getattr(other, key) for other in among}) > 1:
            words[key] = getattr(setting, key)
    return words


def imbalance_words(setting: Setting) -> str:
    """Return the imbalance: "10", "as it is, 12:1", or of classes cut down "10 (as it is 12:1)"."""
    if not setting.is_own:
        return f"{setting.imbalance:g}"
    measured = "" if setting.own_imbalance is None else f"{ratio(setting.own_imbalance)}:1"
    if setting.imbalance == 1:
        return f"as it is, {measured}" if measured else "as it is"
    return f"{setting.imbalance:g} (as it is {measured})" if measured else f"{setting.imbalance:g}"


def noise_words(setting: Setting, *, of_kind: bool = False) -> str:
    """Return the noise: "0.4", "human-worse", "unknown", or with what is added "unknown + 0.4".

    Args:
        of_kind: say the kind of what is added as well, "0.4 flip".
    """
    is_kind = of_kind and setting.noise is not None
    added = f"{setting.noise_rate:g} {setting.noise}" if is_kind else f"{setting.noise_rate:g}"
    if setting.noise == REAL or setting.is_own:
        own = "unknown" if setting.own_noise is None else f"{setting.own_noise} of its own"
        return f"{own} + {added}" if setting.noise_rate else own
    return str(setting.noise) if setting.noise in GIVEN else added


def setting_parts(setting: Setting, among: Sequence[Setting]) -> tuple[str, ...]:
    """Return `setting` in words: ("imbalance 10", "noise 0.4"), ("as it is, 12:1", …)."""
    words = setting_words(setting, among)
    is_said = setting.is_own and setting.imbalance == 1  # "as it is" needs no name before it
    named = {"noise"} if is_said else {"imbalance", "noise"}
    return tuple(f"{key} {text}" if key in named else text for key, text in words.items())


def bias_words(setting: Setting) -> tuple[str, str]:
    """Return imbalance and noise of a setting that stands alone: ("10", "0.4 flip")."""
    noise = noise_words(setting, of_kind=True)
    return imbalance_words(setting), "none" if noise == "0" else noise


def setting_text(setting: Setting) -> str:
    """Return a setting that stands alone in a line: "imbalance 10, noise 0.4 flip"."""
    imbalance, noise = bias_words(setting)
    is_said = setting.is_own and setting.imbalance == 1
    return f"{imbalance if is_said else f'imbalance {imbalance}'}, noise {noise}"


def axis_words(settings: Sequence[Setting]) -> tuple[dict[float, str], dict[float, str]]:
    """Return what each imbalance and each noise rate of `settings` is called, where it is one."""
    found: tuple[dict[float, set[str]], ...] = ({}, {})
    for setting in settings:
        found[0].setdefault(setting.imbalance, set()).add(imbalance_words(setting))
        found[1].setdefault(setting.noise_rate, set()).add(noise_words(setting))
    imbalances, rates = ({k: next(iter(w)) for k, w in one.items() if len(w) == 1} for one in found)
    return imbalances, rates


def in_common(settings: Sequence[Setting]) -> str:
    """Return what `setting_words` leaves out, since all `settings` have it."""
    kinds = {setting.noise for setting in settings if setting.noise is not None}
    found = [{setting.data for setting in settings}, {setting.model for setting in settings}]
    words = [*found, {f"{kind} noise" for kind in kinds}]
    return ", ".join(next(iter(values)) for values in words if len(values) == 1)


def method_labels(configs: Sequence[Config]) -> list[str]:
    """Return the label of each config's method among `configs`, in their order."""
    known: dict[tuple[str, str], Flat] = {}  # sections are the same in many cells
    cells = [{key: _flat(key, value, known) for key, value in one.items()} for one in configs]
    by_name: dict[str, list[Sections]] = {}
    for config, cell in zip(configs, cells, strict=True):
        by_name.setdefault(config["method"]["name"], []).append(cell)
    varying = {name: _varying(found) for name, found in by_name.items()}
    return [
        _label(config["method"]["name"], cell, varying[config["method"]["name"]])
        for config, cell in zip(configs, cells, strict=True)
    ]


def _flat(section: str, value: Any, known: dict[tuple[str, str], Flat]) -> Flat:
    """Return each dotted key of a section with its value as text; one object for equal sections."""
    key = section, repr(value)
    if key not in known:
        known[key] = {dotted: _text(item) for dotted, item in flatten({section: value})}
    return known[key]


def flatten(config: Config) -> Iterator[tuple[str, Any]]:
    """Yield each dotted key of a config with its value."""
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from ((f"{key}.{inner}", item) for inner, item in flatten(value))
        else:
            yield key, value


def _varying(cells: Sequence[Sections]) -> list[str]:
    """Return the options that tell cells of one method apart.

    An option of the method varies if any two cells differ in it; another option (a schedule, the
    size of the meta set) only if two cells of the same setting and seed do, since its default may
    depend on the data.
    """
    groups: dict[tuple[str, ...], list[Sections]] = {}
    for cell in cells:
        groups.setdefault(tuple(_value(cell, key) for key in WHERE), []).append(cell)
    alike = [group for group in groups.values() if len(group) > 1]
    varies = {key: None for group in alike for key in _differing(group)}
    varies |= {key: None for key in _differing(cells) if key.startswith("method.")}
    flats = {id(flat): flat for cell in cells for flat in cell.values()}  # in the cells' order
    keys = dict.fromkeys(key for flat in flats.values() for key in flat if key not in NO_OPTION)
    return [key for key in keys if key in varies]


def _differing(cells: Sequence[Sections]) -> Iterator[str]:
    """Yield each dotted key in which any two cells differ."""
    for section in dict.fromkeys(section for cell in cells for section in cell):
        flats = [*{id(flat): flat for flat in (cell.get(section, {}) for cell in cells)}.values()]
        for key in dict.fromkeys(key for flat in flats for key in flat):
            if len({flat.get(key, NOTHING) for flat in flats}) > 1:
                yield key


def _value(cell: Sections, key: str) -> str:
    return cell.get(key.partition(".")[0], {}).get(key, NOTHING)


def _label(name: str, cell: Sections, varying: Sequence[str]) -> str:
    options = [f"{key.removeprefix('method.')}={_value(cell, key)}" for key in varying]
    return " ".join([printable(name), *options])


def _text(value: Any) -> str:
    """Return a value as `--set` takes it: a bare word, a number, true, [80,100]."""
    return printable(value, 1000) if isinstance(value, str) else _json(value)


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))
