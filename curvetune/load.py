"""Reading YAML into a config section, with complaints that a person can act on."""

from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from curvetune.config import METHOD_SECTIONS, CellConfig, Section
from curvetune.errors import ConfigError, nearest

S = TypeVar("S", bound=Section)


def read_yaml(path: Path) -> dict[str, Any]:
    """Return the mapping that the file at `path` holds.

    Raises:
        ConfigError: the file cannot be read, is not YAML, or is not a mapping.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read ({error}); give a YAML file") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML: {error}") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: holds {content!r}; a mapping with keys is needed")
    return content


def validate(values: Any, schema: type[S], origin: str) -> S:
    """Return `values` as `schema`; each complaint names `origin`, the dotted key and the value.

    Raises:
        ConfigError: one message with every complaint, what is allowed and the nearest name.
    """
    try:
        return schema.model_validate(values)
    except ValidationError as error:
        details = error.errors()
        lines = [f"  {_complaint(dict(detail), schema)}" for detail in details]
        raise ConfigError("\n".join([f"{origin}: {len(lines)} problem(s)", *lines])) from None


def _complaint(detail: dict[str, Any], schema: type[BaseModel]) -> str:
    """Return one of pydantic's complaints as: key, value, what is allowed, the nearest name."""
    loc: tuple[str | int, ...] = detail["loc"]
    key = ".".join(map(str, loc)) or "(whole section)"
    value, context = detail["input"], detail.get("ctx", {})
    if detail["type"] == "extra_forbidden":
        allowed = sorted(_section_at(schema, loc[:-1]).model_fields)
        hint = nearest(str(loc[-1]), allowed)
        return f"{key}: unknown key, got {value!r}; allowed are {', '.join(allowed)}{hint}"
    if detail["type"] in ("union_tag_invalid", "union_tag_not_found"):
        value, allowed = context.get("tag", value), list(METHOD_SECTIONS)
        hint = nearest(str(value), allowed)
        return f"{key}.name: unknown method {value!r}; allowed are {', '.join(allowed)}{hint}"
    if detail["type"] == "literal_error":
        allowed = [
            word.strip("' ") for word in context["expected"].replace(" or ", ", ").split(",")
        ]
        hint = nearest(str(value), allowed)
        return f"{key}: got {value!r}; allowed are {context['expected']}{hint}"
    if detail["type"] == "value_error":
        return f"{key}: {context['error']}"
    return f"{key}: {detail['msg']}, got {value!r}"


def _section_at(schema: type[BaseModel], loc: tuple[str | int, ...]) -> type[BaseModel]:
    """Return the section that pydantic's location `loc` points into."""
    for part in loc:
        if part in METHOD_SECTIONS:  # the tag that pydantic puts after `method`
            schema = METHOD_SECTIONS[str(part)]
        elif part in schema.model_fields:
            annotation = schema.model_fields[str(part)].annotation
            if isinstance(annotation, type) and issubclass(annotation, BaseModel):
                schema = annotation
    return schema


def dotted_keys() -> dict[str, list[str]]:
    """Return for each option's last name the dotted keys of a cell that end in it."""
    found: dict[str, list[str]] = {}
    for name, field in CellConfig.model_fields.items():
        sections: list[Any] = (
            list(METHOD_SECTIONS.values()) if name == "method" else [field.annotation]
        )
        for section in sections:
            if not (isinstance(section, type) and issubclass(section, BaseModel)):
                found.setdefault(name, []).append(name)
                continue
            for option in section.model_fields:
                key = f"{name}.{option}"
                if key not in found.setdefault(option, []):
                    found[option].append(key)
    return found


def full_key(key: str, origin: str) -> str:
    """Return the dotted key that `key` stands for: `imbalance` is `bias.imbalance`.

    Raises:
        ConfigError: no option has that name, or several have.
    """
    table = dotted_keys()
    every = {dotted for keys in table.values() for dotted in keys}
    if key in every or key in CellConfig.model_fields:
        return key
    keys = table.get(key, [])
    if len(keys) == 1:
        return keys[0]
    if keys:
        raise ConfigError(f"{origin}: {key!r} is ambiguous; write one of {', '.join(keys)}")
    hint = nearest(key, [*table, *every])
    raise ConfigError(
        f"{origin}: unknown key {key!r}{hint}; allowed are the options of "
        f"{', '.join(CellConfig.model_fields)}; `curvetune plan SPACE --json` prints them all"
    )
