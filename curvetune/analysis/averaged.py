"""Suspects by what several cells say that differ in nothing but their seeds.

Every value of a sample is the mean over the cells that trained on it under the same given label.
Samples are ranked by that mean. A mean over seeds is steadier than one run: what a single network
happened to stumble on counts less. Where labels were made wrong here, each seed made others wrong;
a sample is then there once for each label that it was given.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from curvetune.analysis.suspects import COMBINED, Suspects, find_suspects
from curvetune.data.splits import Split
from curvetune.errors import ConfigError, printable
from curvetune.grids.naming import same_but_seeds

Array = NDArray[np.float64]


def suspects_of(
    storage: Path,
    text: str,
    data_dir: Path | None = None,
    *,
    score: str = COMBINED,
    where: tuple[str, ...] = (),
) -> Suspects:
    """Return the suspects of a cell, or the mean over the cells of GRID/METHOD that are done.

    Args:
        text: an id, the first digits of one, or GRID/METHOD.
        where: KEY=VALUE, which cells of GRID/METHOD, if that has several settings.

    Raises:
        ConfigError: there are none, they are of several settings, none is done, or they have no
            such score.
        CorruptError: a file is damaged.
        DataError: the images in `data_dir` are others than those that were trained on.
    """
    if "/" not in text:
        if where:
            raise ConfigError("--where chooses among the cells of GRID/METHOD; leave it out")
        return find_suspects(storage, text, data_dir, score=score)
    cells = same_but_seeds(storage, text, where)
    done = [cell for cell in cells if cell.state == "done"]
    first = find_suspects(storage, (done or cells)[0].cell_id, data_dir, score=score)
    if len(done) < len(cells):
        first.notes.append(f"{len(done)} of the {len(cells)} cells of {printable(text)} are done")
    images, files = first.dataset, first.files
    ask = images is not None
    others = [
        find_suspects(storage, cell.cell_id, images=images, files=files, ask=ask, score=score)
        for cell in done[1:]
    ]
    if not others:
        return first
    return _mean([first, *others], tuple(cell.seed for cell in done))


def _mean(found: list[Suspects], seeds: tuple[int, ...]) -> Suspects:
    first = found[0]
    keys = np.concatenate([np.stack([one.split.train, one.split.y], axis=1) for one in found])
    pairs, begins, place = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    place = place.ravel()
    counts = np.bincount(place)
    y_true = np.concatenate([one.split.y_true for one in found])[begins]
    split = Split(
        meta=np.empty(0, np.int64), train=pairs[:, 0], y=pairs[:, 1], y_true=y_true,
        test=first.split.test,
    )  # fmt: skip
    names = [name for name in first.columns if all(name in one.columns for one in found)]
    copies = None
    if len(np.unique(pairs[:, 0])) < len(pairs):  # else they are those of the samples themselves
        flags = np.concatenate([one.in_conflict for one in found])
        copies = np.bincount(place, weights=flags) > 0
    return Suspects(
        cell_id=first.cell_id,
        config=first.config,
        split=split,
        columns={
            name: _means(np.concatenate([one.columns[name] for one in found]), place)
            for name in names
        },
        dataset=first.dataset,
        probabilities=_mean_probabilities(found, place, counts),
        files=first.files,
        losses=_means(np.concatenate([one.losses for one in found]), place),
        of_seeds=tuple(found),
        ranked_by=first.ranked_by,
        made_of=tuple(dict.fromkeys(name for one in found for name in one.made_of)),
        notes=list(dict.fromkeys(note for one in found for note in one.notes)),
        mean_of=tuple(one.cell_id for one in found),
        seeds=seeds,
        counts=counts,
        copies=copies,
    )


def _means(values: Array, place: NDArray[np.int64]) -> Array:
    """Return the mean of the values of each place that are known, NaN where none is."""
    known = ~np.isnan(values)
    sums = np.bincount(place, weights=np.where(known, values, 0.0))
    sizes = np.bincount(place, weights=known)
    return np.where(sizes > 0, sums / np.maximum(sizes, 1), np.nan)


def _mean_probabilities(
    found: list[Suspects], place: NDArray[np.int64], counts: NDArray[np.int64]
) -> Array | None:
    """Return the mean of what the classifiers say, (n, K); None unless all were asked."""
    asked = [one.probabilities for one in found if one.probabilities is not None]
    if len(asked) < len(found):
        return None
    total = np.zeros((len(counts), asked[0].shape[1]))
    np.add.at(total, place, np.concatenate(asked))
    return np.asarray(total / counts[:, None], np.float64)
