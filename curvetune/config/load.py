"""Reading YAML into a config section, with complaints that a person can act on.

A file may be anybody's: its size, and what its aliases expand to, are limited, and a key that is
given twice is an error, where YAML would keep the last.
"""

from collections.abc import Callable, Hashable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from curvetune.config import METHOD_SECTIONS, CellConfig, Section, read_config
from curvetune.config.kinds import is_nested
from curvetune.errors import ConfigError, nearest, printable

MAX_BYTES = 100_000  # of a file: a second of PyYAML; the longest space of ours has 2,000
MAX_NODES = 100_000  # keys and values, aliases expanded
MAX_DEPTH = 20  # a search space needs six
MAX_COMPLAINTS = 20

S = TypeVar("S", bound=Section)


def read_yaml(path: Path) -> dict[str, Any]:
    """Return the mapping that the file at `path` holds.

    Raises:
        ConfigError: the file cannot be read, is not YAML, or is not a mapping.
    """
    origin = printable(path)
    try:
        with path.open("rb") as file:
            text = file.read(MAX_BYTES + 1).decode("utf-8-sig")
    except OSError as error:
        raise ConfigError(
            f"{origin}: cannot be read ({error.strerror}); give a YAML file"
        ) from None
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{origin}: no text in UTF-8 (byte {error.start}: {error.reason}); give a YAML file"
        ) from None
    content = parse_yaml(text, origin)
    if not isinstance(content, dict):
        raise ConfigError(f"{origin}: holds {_shown(content)}; a mapping with keys is needed")
    return content


def parse_yaml(text: str, origin: str) -> Any:
    """Return the plain value that `text` is as YAML.

    Raises:
        ConfigError: it is not YAML, too long, or has a key twice; `origin` is named.
    """
    if len(text) > MAX_BYTES:
        raise ConfigError(
            f"{origin}: longer than {MAX_BYTES:,} bytes; --seeds 0-999 and --set KEY=[…] write "
            f"long axes in short"
        )
    try:
        return yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        raise ConfigError(f"{origin}: not valid YAML: {error}") from None
    except Exception as error:  # PyYAML lets through what int() and the like raise
        raise ConfigError(f"{origin}: not valid YAML: {printable(error)}") from None


class _Loader(yaml.SafeLoader):
    """YAML's plain values; refuses aliases that explode, depth, and keys that are given twice."""

    _depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        self._depth += 1
        if self._depth > MAX_DEPTH:  # early: PyYAML needs seconds for what is nested by hundreds
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.composer.ComposerError(None, None, "nested too deeply", mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def get_single_data(self) -> Any:
        node = self.get_single_node()
        if node is None:
            return None
        _count(node, {}, set())
        return self.construct_document(node)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Hashable] = set()
        for part in _plain_keys(node):
            key = self.construct_object(part, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {_shown(key)} is given twice", part.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


def _plain_keys(node: yaml.MappingNode) -> list[yaml.Node]:
    """Return the keys of a mapping that are plain values, and not `<<`."""
    return [
        key
        for key, _ in node.value
        if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge"
    ]


def _count(node: yaml.Node, counts: dict[yaml.Node, int], inside: set[yaml.Node]) -> int:
    """Return how many nodes `node` is once its aliases are expanded, refusing too many."""
    if node in inside:
        raise yaml.composer.ComposerError(None, None, "an alias of what holds it", node.start_mark)
    if node not in counts:
        parts: list[yaml.Node] = []
        if isinstance(node, yaml.SequenceNode):
            parts = node.value
        elif isinstance(node, yaml.MappingNode):
            parts = [part for pair in node.value for part in pair]
        inside.add(node)
        counts[node] = 1 + sum(_count(part, counts, inside) for part in parts)
        inside.remove(node)
    if counts[node] > MAX_NODES:
        raise yaml.composer.ComposerError(
            None, None, f"more than {MAX_NODES:,} values, aliases expanded", node.start_mark
        )
    return counts[node]


def validate(values: Any, schema: type[S], origin: str) -> S:
    """Return `values` as `schema`; each complaint names `origin`, the dotted key and the value.

    Raises:
        ConfigError: one message with every complaint, what is allowed and the nearest name.
    """
    return _validated(lambda: schema.model_validate(values), schema, origin)


def stored_config(values: Mapping[str, Any], origin: str) -> CellConfig:
    """Return the config that a storage holds; its plugins need not be here.

    Raises:
        ConfigError: it is no config, or of another version of curvetune.
    """
    return _validated(lambda: read_config(values), CellConfig, origin)


def _validated(read: Callable[[], S], schema: type[S], origin: str) -> S:
    try:
        return read()
    except ValidationError as error:
        details = error.errors()
        lines = [f"  {_complaint(dict(detail), schema)}" for detail in details[:MAX_COMPLAINTS]]
        if len(details) > MAX_COMPLAINTS:
            lines.append(f"  and {len(details) - MAX_COMPLAINTS:,} more")
        raise ConfigError("\n".join([f"{origin}: {len(details)} problem(s)", *lines])) from None


def _complaint(detail: dict[str, Any], schema: type[BaseModel]) -> str:
    """Return one of pydantic's complaints as: key, value, what is allowed, the nearest name."""
    loc: tuple[str | int, ...] = detail["loc"]
    key = printable(".".join(map(str, loc))) or "(whole section)"
    value, context = detail["input"], detail.get("ctx", {})
    if detail["type"] == "extra_forbidden":
        allowed = sorted(_section_at(schema, loc[:-1]).model_fields)
        hint = nearest(str(loc[-1]), allowed)
        return f"{key}: unknown key, got {_shown(value)}; allowed are {', '.join(allowed)}{hint}"
    if detail["type"] in ("union_tag_invalid", "union_tag_not_found"):
        value, allowed = context.get("tag", value), list(METHOD_SECTIONS)
        hint = nearest(str(value), allowed)
        return f"{key}.name: unknown method {_shown(value)}; allowed are {', '.join(allowed)}{hint}"
    if detail["type"] == "literal_error":
        allowed = [
            word.strip("' ") for word in context["expected"].replace(" or ", ", ").split(",")
        ]
        hint = nearest(str(value), allowed)
        return f"{key}: got {_shown(value)}; allowed are {context['expected']}{hint}"
    if detail["type"] in ("model_type", "model_attributes_type"):
        return f"{key}: got {_shown(value)}; allowed is a mapping of options, such as {{name: …}}"
    if detail["type"] == "value_error":
        return f"{key}: {context['error']}"
    return f"{key}: {detail['msg']}, got {_shown(value)}"


def _shown(value: Any) -> str:
    return printable(repr(value))


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
    if key in every or key in CellConfig.model_fields or is_nested(key):
        return key
    keys = table.get(key, [])
    if len(keys) == 1:
        return keys[0]
    if keys:
        raise ConfigError(f"{origin}: {key!r} is ambiguous; write one of {', '.join(keys)}")
    hint = nearest(key, [*table, *every])
    raise ConfigError(
        f"{origin}: unknown key {_shown(key)}{hint}; allowed are the options of "
        f"{', '.join(CellConfig.model_fields)}; `curvetune options` lists them"
    )
