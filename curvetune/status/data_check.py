"""What a folder of images is: its form, its classes, what is wrong with it, and what to run.

Every image is read as a grid would read it, so that what a grid would refuse is known beforehand,
and what is decoded is not decoded again. Nothing here imports PyTorch.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curvetune.config.data import META_PER_CLASS, NOISE_LEVELS, TABLE_SIZES
from curvetune.errors import DataError, printable

if TYPE_CHECKING:
    from curvetune.data import ClassSizes, Report

SCHEMA_VERSION = 1
CIFAR = ("cifar10", "cifar100")
SPACES = (*CIFAR, "folder", "clothing1m", "food101n", "webvision_mini")  # that are of one source
SHOWN = 20  # classes in a table for people


@dataclass(frozen=True)
class Checked:
    """What a folder is."""

    data_dir: Path
    name: str  # of its source
    also: tuple[str, ...]  # other sources that could read it
    variant: str | None  # that was looked at
    variants: tuple[str, ...]  # that are there
    image_size: int
    class_names: tuple[str, ...] = ()
    sizes: "ClassSizes | None" = None
    report: "Report | None" = None  # None where images were not read, or are known by a digest
    notes: tuple[str, ...] = ()
    problem: str | None = None  # why no grid could run on it

    @property
    def command(self) -> str:
        """Return what to run next."""
        import shlex

        space = self.name if self.name in SPACES else "folder"
        options = [] if space == self.name else ["--set", f"data.name={self.name}"]
        if self.variant is not None:
            options += ["--set", f"data.variant={self.variant}"]
        if self.image_size not in (32, TABLE_SIZES.get(self.name)):
            options += ["--set", f"image_size={self.image_size}"]
        enough = META_PER_CLASS.get(self.name, 10)
        fewest = min((self.sizes and self.sizes.clean) or (enough,))
        if space == self.name and fewest < enough:
            options += ["--set", f"data.meta_per_class={fewest}"]
        bad = self.report is not None and self.report.bad
        options += ["--on-bad", "skip"] if bad else []
        return shlex.join(["curvetune", "plan", space, *options, "--data-dir", str(self.data_dir)])

    def to_json(self) -> dict[str, Any]:
        """Return it for people's programs."""
        return {
            "schema_version": SCHEMA_VERSION,
            "data_dir": printable(self.data_dir, 4096),
            "name": self.name,
            "also": list(self.also),
            "variant": self.variant,
            "variants": list(self.variants),
            "classes": self.rows(),
            "report": None if self.report is None else self.report.to_json(),
            "notes": list(self.notes),
            "problem": self.problem,
            "command": self.command if self.problem is None else None,
        }

    def rows(self) -> list[dict[str, Any]]:
        """Return how many images of each class there are."""
        if self.sizes is None:
            return []
        clean = self.sizes.clean or [None] * len(self.sizes.train)
        columns = zip(self.class_names, self.sizes.train, self.sizes.test, clean, strict=True)
        return [
            {"class": printable(name), "train": train, "test": test}
            | ({} if from_clean is None else {"clean": from_clean})
            for name, train, test, from_clean in columns
        ]


@dataclass
class _Asked:
    """A folder, and how it is to be looked at."""

    data_dir: Path
    image_size: int | None
    variant: str | None
    quick: bool
    notes: list[str] = field(default_factory=list)


def check_data(
    data_dir: Path,
    *,
    name: str | None = None,
    variant: str | None = None,
    image_size: int | None = None,
    quick: bool = False,
) -> Checked:
    """Return what a folder is, and what is wrong with it.

    Args:
        name: of a source, where more than one could read it.
        variant: where it has several; else the first one is looked at.
        image_size: that images are resized to; else the one that suits the source.
        quick: only count, and open no image.

    Raises:
        ConfigError: there is no such source.
        DataError: it is not there, or of no form that is known.
    """
    from curvetune import data

    if not data_dir.exists():
        raise DataError(
            f"{printable(data_dir)}: there is no such folder; allowed is one with images, or a "
            f"list of them: give its path"
        )
    forms = forms_of(data_dir)
    if name is None and not forms:
        raise DataError(_unknown(data_dir))
    name = name or forms[0]
    data.find_source(name)  # refuses a name that there is not
    also = tuple(form for form in forms if form != name)
    there = _variants(data_dir, name)
    variant = variant or (there[0] if there else None)
    size = image_size or TABLE_SIZES.get(name, 32)
    asked = _Asked(data_dir, size, variant, quick)
    base = Checked(data_dir, name, also, variant, there, size)
    try:
        return _looked_at(base, asked)
    except DataError as error:
        return Checked(data_dir, name, also, variant, there, size, problem=str(error))


def forms_of(data_dir: Path) -> list[str]:
    """Return the sources that could read a folder, the most special one first."""
    from curvetune.data.own.layout import is_plain

    # what a folder of folders is only where it is nothing else
    found = list(_forms(data_dir))
    return found or (["folder"] if data_dir.is_dir() and is_plain(data_dir) else [])


def _forms(data_dir: Path) -> Iterator[str]:
    from curvetune import data
    from curvetune.data.own.layout import has_parts
    from curvetune.data.tables.forms import FORMS

    for name in CIFAR:
        if data.SOURCES[name].finds(data_dir):  # type: ignore[attr-defined]
            yield name
    generic = ("hf", "shards", "list")
    yield from (name for name in FORMS if name not in generic and FORMS[name].is_here(data_dir))
    if data_dir.is_dir() and ((data_dir / "labels.csv").exists() or has_parts(data_dir)):
        yield "folder"
    yield from (name for name in generic if FORMS[name].is_here(data_dir))


def lines(found: Checked) -> list[str]:
    """Return what people should know of a folder, a line each; counts apart."""
    said = [f"{printable(found.data_dir)}: read as data.name={found.name}"]
    if found.also:
        said.append(f"could be read as {', '.join(found.also)} too: --as {found.also[0]}")
    if len(found.variants) > 1:
        said.append(
            f"variants there: {', '.join(found.variants)}; this is {found.variant}, another one "
            f"with --variant"
        )
    said += found.notes
    if found.report is not None:
        said += found.report.words()
    return said


def _looked_at(base: Checked, asked: _Asked) -> Checked:
    from dataclasses import replace

    from curvetune import data

    name = base.name
    if asked.quick and name in TABLE_SIZES:
        return _counted(base, asked)
    source = data.find_source(
        name, image_size=base.image_size, on_bad="skip", variant=asked.variant
    )
    sizes = source.sizes(asked.data_dir)
    if isinstance(source, data.OWN):
        report = source.report(asked.data_dir)
        return replace(base, class_names=report.classes, sizes=sizes, report=report)
    digest = source.digest(asked.data_dir)
    counts = f"{sum(sizes.train):,} images to train on and {sum(sizes.test):,} to test on"
    notes = (f"{counts}, of {len(sizes.train)} classes; digest {digest[:12]}",)
    if asked.quick:
        numbers = tuple(map(str, range(len(sizes.train))))
        return replace(base, class_names=numbers, sizes=sizes, notes=notes)
    loaded = source.load(asked.data_dir)
    twice = tuple(data.copies_in(loaded))
    return replace(base, class_names=loaded.class_names, sizes=sizes, notes=(*notes, *twice))


def _counted(base: Checked, asked: _Asked) -> Checked:
    """Return the counts of a table's rows, whether or not their images are there."""
    from dataclasses import replace

    from curvetune.data import ClassSizes
    from curvetune.data.tables.forms import FORMS, read_table

    table = read_table(base.name, asked.data_dir, asked.variant)
    y, n = table.y, table.train
    sizes = ClassSizes.of(y[:n], y[n:], len(table.class_names), table.clean)
    notes = (
        f"{n:,} rows to train on and {len(y) - n:,} to test on, of {len(table.class_names)} "
        f"classes ({FORMS[base.name].what}); no image was opened",
    )
    return replace(base, class_names=table.class_names, sizes=sizes, notes=notes)


def _variants(data_dir: Path, name: str) -> tuple[str, ...]:
    """Return the shares of wrong labels that there are lists for; none of other sources."""
    if not name.startswith("cnwl_"):
        return ()
    from curvetune.data.tables import cnwl

    return tuple(level for level in NOISE_LEVELS if cnwl.has(data_dir, name, level))


def _unknown(data_dir: Path) -> str:
    from curvetune.data.listing import EXPECTED
    from curvetune.data.tables.forms import FORMS

    wanted: Sequence[str] = [f"  {name}: {form.wanted}" for name, form in FORMS.items()]
    head = f"{printable(data_dir)}: no form of data that is known"
    tail = "bring it into one of these: a list, path and label, is the least work"
    return "\n".join([head, f"  folder: {EXPECTED}", *wanted, tail])
