"""One colour for each method, in every figure, page and MLflow run.

All stand out against white and against a dark page (a contrast of at least 3 to 1). The first ones
of `COLOURS` are those that people who are colour-blind tell apart best. Where it matters, figures
tell methods apart by marks and dashes too. This module imports nothing that draws.
"""

import zlib
from collections.abc import Sequence

# Found one after the other: each is as far as possible from those before it, for four kinds of
# eyes (tests/report/test_colours.py). The third, grey, is for what others are compared with.
# fmt: off
COLOURS = (
    "#0072af", "#d36000", "#7b7b7b", "#ca69ff", "#9e4623", "#af00f6", "#1a9eb8", "#7b5769",
    "#959583", "#f64fd3", "#c12bb8", "#9e694f", "#ca8357", "#57608c", "#c14fdb", "#c10860",
    "#9508db", "#af7b9e", "#3d951a", "#db089e", "#9e60f6", "#ed2b57", "#8c8cdb", "#b8009e",
    "#9546d3", "#00722b", "#ff46a7", "#726983", "#958372", "#7283c1", "#ed6934", "#ca0000",
    "#9e1ac1", "#8c4f4f", "#577b3d", "#7b69ca",
)
# The order decides the colour, so a new method goes to the end. The methods that grids have most
# come first.
ORDER = (
    "curvenet", "mw-net-noise", "cross-entropy", "co-teaching", "focal", "dividemix", "elr-plus",
    "sop", "class-balanced", "ldam-drw", "mw-net-imb", "har", "o2u-net", "bootstrapping",
    "s-adaptation", "lccn", "cleannet", "metacleaner", "self-learning", "distill", "famus", "l2rw",
    "glc", "mentornet", "cmw-net", "rolt-drw", "gce", "sce", "logit-adjustment",
    "balanced-softmax", "elr", "dynamic-loss", "crt",
)
# fmt: on
APART = 10  # the first colours, which rows of one method take before all others


def colour_of(method: str) -> str:
    """Return the colour of a method, `#rrggbb`, by its name; a plugin's depends on its name alone.

    Args:
        method: a name or a label; the options in a label decide nothing here.
    """
    name = method.partition(" ")[0]
    if name in ORDER:
        return COLOURS[ORDER.index(name)]
    return COLOURS[zlib.crc32(name.encode()) % len(COLOURS)]


def colours_of(labels: Sequence[str]) -> dict[str, str]:
    """Return the colour of each row of a grid, by its label; as long as there are some, all differ.

    The first row of a method has the method's own colour. Further rows of it, as an ablation has,
    take colours that no other method of the grid has.
    """
    found: dict[str, str] = {}
    names: set[str] = set()
    later: list[str] = []
    for label in dict.fromkeys(labels):
        name, own = label.partition(" ")[0], colour_of(label)
        if name in names or own in found.values():
            later.append(label)
        else:
            found[label] = own
            names.add(name)
    free = [colour for colour in COLOURS if colour not in found.values()] or list(COLOURS)
    found |= {label: free[k % len(free)] for k, label in enumerate(later)}
    return {label: found[label] for label in labels}
