"""Published numbers: what published.yaml holds, checked when it is read."""

import functools
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from curvetune.config import METHOD_SECTIONS, NoiseKind
from curvetune.config.base import Section
from curvetune.config.load import read_yaml, validate

FILE = Path(__file__).with_name("published.yaml")
PAPER = "curvenet"  # the source that `--paper` lays out
Quantity = Literal["accuracy", "MA", "ms"]
# What a row's name does not say of the method is as it is by default; only these options are
# looked at, since they are what the paper's tables vary.
PLAIN: dict[str, Any] = {
    "skip_layers": 0,
    "embedding_dim": 64,
    "removed_losses": 5,
    "meta": "clean",
    "meta_images": None,
    "meta_every": 1,
    "meta_gradient": "exact",
    "update": "at-once",
}
PLAIN_OF_CURVENET: dict[str, Any] = {"drw": False}


class PublishedSource(Section):
    """A publication."""

    title: str
    short: str


class Column(Section):
    """Where a column's numbers were measured; what it leaves out, its table says."""

    name: str
    data: str | None = None
    noise: tuple[NoiseKind, ...] | None = None
    quantity: Quantity | None = None
    imbalance: Annotated[tuple[float, ...], Field(min_length=1)]
    noise_rate: Annotated[tuple[float, ...], Field(min_length=1)]


class PublishedRow(Section):
    """A method's numbers, one for each column; null: not printed there."""

    name: str
    method: str | None  # None: not one of ours
    options: Annotated[dict[str, Any], Field(default_factory=dict)]
    values: tuple[float | None, ...]
    std: tuple[float | None, ...] = ()  # of the values, over runs; empty where none is printed

    @model_validator(mode="after")
    def _method_is_known(self) -> Self:
        if self.method is None:
            return self
        if self.method not in METHOD_SECTIONS:
            raise ValueError(f"method {self.method!r}: allowed are {', '.join(METHOD_SECTIONS)}")
        unknown = set(self.options) - set(METHOD_SECTIONS[self.method].model_fields)
        if unknown:
            raise ValueError(f"{self.method} has no option {', '.join(sorted(unknown))}")
        return self

    def is_of(self, method: dict[str, Any]) -> bool:
        """Say whether a cell's method, as its config has it, is this row's."""
        if self.method is None or method["name"] != self.method:
            return False
        plain = PLAIN | (PLAIN_OF_CURVENET if self.method == "curvenet" else {})
        fields = METHOD_SECTIONS[self.method].model_fields
        wanted = {key: value for key, value in plain.items() if key in fields} | self.options
        # a config of an older version lacks options that came later: they were at their default
        return all(method.get(key, fields[key].default) == value for key, value in wanted.items())


class Published(Section):
    """A table of a publication."""

    source: str
    table: str
    paper: str | None = None  # the number under which `--paper` lays it out
    transposed: bool = False  # printed with methods as columns
    known: Literal["P", "C", "M"] = "P"
    note: str = ""
    quantity: Quantity = "accuracy"
    data: str | None = None
    model: str | None
    noise: tuple[NoiseKind, ...] | None = None
    columns: tuple[Column, ...]
    rows: tuple[PublishedRow, ...]

    @model_validator(mode="after")
    def _every_number_has_its_place(self) -> Self:
        for row in self.rows:
            if len(row.values) != len(self.columns):
                raise ValueError(
                    f"{self.table}, row {row.name}: {len(row.values)} values for "
                    f"{len(self.columns)} columns"
                )
            if row.std and len(row.std) != len(row.values):
                raise ValueError(f"{self.table}, row {row.name}: {len(row.std)} std for its values")
        for column in self.columns:
            if (column.data or self.data) is None:
                raise ValueError(f"{self.table}, column {column.name}: of which data?")
        return self

    def data_of(self, column: Column) -> str:
        """Return the name of a column's data set."""
        return str(column.data or self.data)

    def noise_of(self, column: Column) -> tuple[NoiseKind, ...]:
        """Return the kinds of noise that a column may be of; none where no label is wrong."""
        return column.noise or self.noise or ()

    def quantity_of(self, column: Column) -> Quantity:
        """Return what a column counts."""
        return column.quantity or self.quantity


class Library(Section):
    """All published numbers."""

    sources: dict[str, PublishedSource]
    tables: tuple[Published, ...]

    @model_validator(mode="after")
    def _sources_are_known(self) -> Self:
        for table in self.tables:
            if table.source not in self.sources:
                raise ValueError(f"{table.table}: unknown source {table.source!r}")
        return self

    def paper(self) -> dict[str, Published]:
        """Return the tables of the paper that can be laid out, by number."""
        return {table.paper: table for table in self.tables if table.paper is not None}


@functools.cache
def library() -> Library:
    """Return the published numbers.

    Raises:
        ConfigError: the file is damaged.
    """
    return validate(read_yaml(FILE), Library, FILE.name)
