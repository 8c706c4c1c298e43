"""Whether Parquet files are CIFAR's, or another set that looks alike.

CIFAR has a column `img`, and the published names of its classes in the metadata. A set of some of
these classes is taken too where CIFAR is asked for, and never guessed.
"""

from collections.abc import Sequence
from pathlib import Path

from curvetune.data.parquet import names_in
from curvetune.errors import printable

SHOWN = 5  # names that an error has
# Source: the meta data of both archives (A. Krizhevsky, "Learning Multiple Layers of Features from
# Tiny Images", 2009).
CLASSES = {
    "cifar10": frozenset(
        "airplane automobile bird cat deer dog frog horse ship truck".split()  # noqa: SIM905
    ),
    "cifar100": frozenset(
        """
        apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge
        bus butterfly camel can castle caterpillar cattle chair chimpanzee clock cloud
        cockroach couch crab crocodile cup dinosaur dolphin elephant flatfish forest fox
        girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster
        man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter
        palm_tree pear pickup_truck pine_tree plain plate poppy porcupine possum rabbit
        raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake
        spider squirrel streetcar sunflower sweet_pepper table tank telephone television
        tiger tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm
        """.split()  # noqa: SIM905
    ),
}


def is_all_of(name: str, names: Sequence[str]) -> bool:
    """Say whether names are those of all classes of `name`, cifar10 or cifar100."""
    return len(names) == len(CLASSES[name]) and set(names) == CLASSES[name]


def why_not(name: str, column: str, path: Path) -> str | None:
    """Return what a Parquet file has that `name` has not; None if it may be of it.

    A file that cannot be read, or whose metadata has no names, may be.

    Args:
        column: of the labels.
    """
    import pyarrow as pa  # inside, as in data/parquet.py
    import pyarrow.parquet as pq

    try:
        schema = pq.read_schema(path)
    except (pa.ArrowException, OSError):  # reading it says what is wrong
        return None
    there = f"the columns of {printable(path.name)} are {printable(', '.join(schema.names))}"
    missing = [needed for needed in ("img", column) if needed not in schema.names]
    if missing:
        return f"{there}, and {name} has img and {column}"
    others = [one for one in names_in(schema, column) or () if one not in CLASSES[name]]
    if others:
        more = ", …" if len(others) > SHOWN else ""
        shown = ", ".join(printable(one, 40) for one in others[:SHOWN])
        return f"{printable(path.name)} has classes that {name} has not: {shown}{more}"
    return None
