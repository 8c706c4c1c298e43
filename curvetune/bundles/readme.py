"""README.md of a bundle: what came out, how to check it, and how to repeat it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import curvetune
from curvetune.bundles.contents import Contents
from curvetune.bundles.layout import (
    ABOUT,
    CONSTRAINTS,
    FIGURES,
    PLUGINS,
    REFERENCES,
    SPACE,
    STORAGE,
    TABLES,
)
from curvetune.config.plugins import PluginRef
from curvetune.errors import printable
from curvetune.grids.cells import Grid, Select
from curvetune.plugins.code import Plugin
from curvetune.report.sheet import markdown
from curvetune.report.tables.main import footnotes, ma_sheet
from curvetune.store.names import CELLS, PROBES, RELABELS, SPLITS
from curvetune.system.units import duration

SHOWN = 20  # cells that are named
FILES = {
    f"{TABLES}/": "each table as CSV (numbers in full), Markdown and LaTeX; `report`, `ma`, "
    "`seeds` and `classes` are means, `cells` has every run, `significance` the tests, "
    "`published` the numbers of publications beside these",
    f"{FIGURES}/": "the figures of the grid",
    SPACE: "the grid with every option: what `curvetune grid` runs again",
    f"{PLUGINS}/": "the source of what is not part of curvetune",
    CONSTRAINTS: "the versions of all packages",
    REFERENCES: "the publications of the methods",
    ABOUT: "seeds, devices, versions and the SHA-256 of every file, for programs",
    f"{STORAGE}/": "the cells and what they were made from, as a storage has them",
}


@dataclass(frozen=True)
class Facts:
    """What is told beside the contents."""

    made_with: Mapping[str, Mapping[str, int]]
    plugins: Sequence[Plugin]
    missing: Sequence[PluginRef]
    has_figures: bool
    curves: bool
    models: bool


def readme(contents: Contents, grid: Grid, select: Select, facts: Facts) -> str:
    """Return the text of README.md."""
    done = len(grid.cells) - len(contents.lacking)
    sections = [
        f"# {grid.title}\n\nA bundle of curvetune {curvetune.__version__}: the results of a grid "
        f"of training runs, with all that they were made of. {done} of {len(grid.cells)} runs "
        f"(cells) are done.",
        _result(grid, select),
        _check(contents.name),
        _repeat(contents, grid, facts),
        _facts(contents, grid, facts),
        _files(facts),
        _left_out(contents, facts),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _result(grid: Grid, select: Select) -> str:
    notes = "\n".join(f"- {note}" for note in footnotes(grid, select))
    return f"## What came out\n\n{markdown(ma_sheet(grid, select))}\n\n{notes}"


def _check(name: str) -> str:
    return f"""## Check it, use it

```sh
curvetune verify {name}.zip
curvetune import {name}.zip --storage results
curvetune report {name} --storage results
```

`verify` says whether each file is as it was bundled. It computes the tables from the cells again,
and needs neither the images nor the storage that they are from. `import` takes the cells into a
storage. What is done there is not run again. Neither of them runs code of this bundle."""


def _repeat(contents: Contents, grid: Grid, facts: Facts) -> str:
    plugins = "".join(f" --plugin {_plugin_word(one)}" for one in facts.plugins)
    path = "PYTHONPATH=plugins " if any(not one.is_file for one in facts.plugins) else ""
    data = ", ".join(dict.fromkeys(setting.data.split(" ")[0] for setting in grid.settings))
    images = "" if data == "digits" else " --data-dir IMAGES"
    missing = "".join(
        f"\n- {PLUGINS}/ lacks {printable(ref)}: it was not at hand when this was bundled."
        for ref in facts.missing
    )
    return f"""## Repeat it

1. Get the code of the cells: {_code(facts)}.
2. In a fresh environment of its own, install it with the same versions of all packages:
   `pip install -c {CONSTRAINTS} -e FOLDER_OF_CURVETUNE`
3. Run the grid anew, with `space.yaml` of this bundle and a storage that is empty:

```sh
{path}curvetune grid {SPACE}{plugins}{images} --storage anew
```

- The images are {data}, and the digest of their content is `{printable(grid.digest)}`. Other
  images make other cells, which never take the place of these.
- All of it took {_time(grid)}{missing}
- The same kind of device, number of threads and versions make the same numbers bit for bit.
  Others make numbers that are as good, and differ in their last digits."""


def _facts(contents: Contents, grid: Grid, facts: Facts) -> str:
    seeds = sorted({cell.seed for cell in grid.cells})
    return f"""## Facts

- methods: {", ".join(grid.methods())}
- settings: {len(grid.settings)}, of {", ".join(dict.fromkeys(s.model for s in grid.settings))}
- seeds: {", ".join(map(str, seeds))}
- devices: {_counted(facts.made_with["devices"])}
- versions: {_counted(facts.made_with["versions"])}
- command: `{printable(contents.record["command"], 2000)}`"""


def _files(facts: Facts) -> str:
    skipped = set() if facts.plugins else {f"{PLUGINS}/"}
    if not facts.has_figures:
        skipped.add(f"{FIGURES}/")
    rows = [f"| `{name}` | {what} |" for name, what in FILES.items() if name not in skipped]
    return "\n".join(["## What is here", "", "| file | what |", "|---|---|", *rows])


def _left_out(contents: Contents, facts: Facts) -> str:
    lines = ["the images, which have licences of their own"]
    if not facts.curves:
        lines.append("the loss curves (probes): `import` has the cells, and a new method runs them")
    if not facts.models:
        lines.append("the classifiers: the cells have their numbers and values per sample")
    lacking = [
        f"{cell.label}, seed {cell.seed} ({cell.cell_id}): {cell.state}"
        for cell in contents.lacking
    ]
    if lacking:
        more = [f"and {len(lacking) - SHOWN} more"] if len(lacking) > SHOWN else []
        lines += [f"{count(len(lacking), 'cell')} without a result:", *lacking[:SHOWN], *more]
    return "\n".join(["## What is not here", "", *(f"- {x}" for x in [*lines, *contents.notes])])


def count(number: int, what: str) -> str:
    """Return how many there are of something: "1 cell", "2 cells"."""
    return f"{number} {what}" + "s" * (number != 1)


def counts_text(contents: Contents) -> str:
    """Return how many cells, probes and splits there are, in words."""
    n = contents.counts
    words = [f"{n.get(CELLS, 0)} of {count(len(contents.grid.cells), 'cell')}"]
    words += [count(n[PROBES], "probe")] if PROBES in n else []
    words += [count(n.get(SPLITS, 0), "split")]
    words += [count(n[RELABELS], "relabelling")] if n.get(RELABELS) else []
    return ", ".join(words)


def _plugin_word(plugin: Plugin) -> str:
    return f"{PLUGINS}/{next(iter(plugin.files))}" if plugin.is_file else plugin.module


def _code(facts: Facts) -> str:
    commits = [*facts.made_with["commits"]]
    if not commits:
        return f"curvetune {curvetune.__version__}"
    return f"curvetune at commit {' or '.join(f'`{one}`' for one in commits)}"


def _time(grid: Grid) -> str:
    devices: dict[str, float] = {}
    for cell in grid.cells:
        if cell.result is not None:
            device = printable(cell.result.get("device", "a device"))
            devices[device] = devices.get(device, 0.0) + (cell.seconds or 0.0)
    words = [f"{duration(seconds)} on {device}" for device, seconds in devices.items()]
    return f"{' and '.join(words)}, one cell after the other."


def _counted(counts: Mapping[str, int]) -> str:
    return (
        "; ".join(f"{printable(name)} ({count(n, 'cell')})" for name, n in counts.items())
        or "not recorded"
    )
