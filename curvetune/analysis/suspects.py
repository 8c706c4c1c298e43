"""The training samples of a finished cell, ranked by how likely their label is wrong."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from curvetune.analysis import scores
from curvetune.analysis.predictions import images_of, predicted
from curvetune.config import CellConfig, MethodConfig
from curvetune.data.duplicates import in_conflict
from curvetune.data.recipe import fed
from curvetune.data.sets.reading import Chosen, as_pixels
from curvetune.data.source import Dataset
from curvetune.data.splits import Split
from curvetune.errors import ConfigError, CorruptError, nearest, printable
from curvetune.grids.catalog import Catalog
from curvetune.grids.naming import find_cell, result_of
from curvetune.grids.splits import has_split, stored_split
from curvetune.store import CellStore, CurveStore
from curvetune.store.names import MODEL, SAMPLES
from curvetune.training.split import made_split

INSTALL = "not installed: pip install 'curvetune[suspects]'"

Values = NDArray[np.float64]
COMBINED = "combined"  # the score that they are ranked by if nobody chooses another
NAMES = {"aum": "area under the margin", "aum_lower_bound": "area under the margin (bound)"}
ScoreTable = dict[str, dict[str, float | None]]  # of each score, its AUROC and precisions


@dataclass
class Suspects:
    """What there is to say of every training sample of a cell, (N,), in the split's order."""

    cell_id: str
    config: CellConfig
    split: Split
    columns: dict[str, Values]  # of all scores; NaN where not known
    dataset: Dataset | None  # None where the images are not here
    probabilities: Values | None  # (N, K), of the cell's final classifier
    files: tuple[str, ...] | None  # of a folder
    losses: Values  # of the probe or else the last ones, (N,): what `estimate` is made from
    ranked_by: str = ""  # the name of a column
    made_of: tuple[str, ...] = ()  # the score, in words
    notes: list[str] = field(default_factory=list)  # what is not known, and why
    # Of a mean over cells with other seeds (averaged.py)
    mean_of: tuple[str, ...] = ()  # their ids; empty of one cell
    of_seeds: tuple["Suspects", ...] = ()
    seeds: tuple[int, ...] = ()
    counts: NDArray[np.int64] | None = None  # in how many of them a sample has this label, (N,)
    copies: NDArray[np.bool_] | None = None  # `in_conflict` in one of them, (N,)

    @property
    def score(self) -> Values:
        """Percentiles of the column that they are ranked by, (N,), in 0 to 1; 1 is the worst."""
        return scores.ranked(self.higher_is_worse()[self.ranked_by], self.columns["last_loss"])

    @functools.cached_property
    def estimate(self) -> float:
        """The share of wrong labels that the losses suggest; it takes a second for each seed."""
        if self.of_seeds:
            return float(np.mean([one.estimate for one in self.of_seeds]))
        from curvetune.probe.noise_rate import estimate_noise_rate

        return estimate_noise_rate(np.asarray(self.losses[:, None], np.float32), self.split.y)

    @functools.cached_property
    def in_conflict(self) -> NDArray[np.bool_]:
        """Which samples are the same picture as one with another given label, (N,)."""
        if self.copies is not None:
            return self.copies
        if self.dataset is None:
            return np.zeros(len(self.score), np.bool_)
        images = Chosen(as_pixels(self.dataset.train.x), self.split.train)
        return in_conflict(images, self.split.y)

    @property
    def order(self) -> NDArray[np.int64]:
        """Positions, the worst first; equal scores in the order of the split.

        A picture with two labels stands before all others: one of the labels is wrong for certain.
        """
        return np.lexsort((-self.score, ~self.in_conflict))

    @property
    def wrong(self) -> NDArray[np.bool_] | None:
        """Which labels are known to be wrong, (N,); None where nobody knows of any."""
        return self.split.wrong if self.split.wrong.any() else None

    @property
    def known(self) -> NDArray[np.bool_]:
        """Of which labels it is known whether they are wrong, (N,), if it is of any."""
        return self.split.known

    @property
    def other(self) -> NDArray[np.int64] | None:
        """The likeliest class beside the given one, (N,)."""
        if self.probabilities is None:
            return None
        return scores.best_other(self.probabilities, self.split.y)

    def name_of(self, label: int) -> str:
        """Return the name of a class, or its number where names are not known."""
        return str(label) if self.dataset is None else printable(self.dataset.class_names[label])

    def table(self, top: int) -> ScoreTable:
        """Return how well each column finds the wrong labels; empty where they are not known.

        Samples of which nobody knows whether their label is wrong do not count.

        The one that they are ranked by comes first.
        """
        if self.wrong is None:
            return {}
        bad, known = int(self.wrong.sum()), self.known
        ks = tuple(sorted({k for k in (10, 50, top, bad) if 0 < k <= known.sum()}))
        columns = {"score": self.score, **self.higher_is_worse()}
        judged = {name: values[known] for name, values in columns.items()}
        return scores.evaluate(judged, self.wrong[known], ks)

    def higher_is_worse(self) -> dict[str, Values]:
        """Return the columns, those negated of which a low value is suspicious."""
        down = {"weight", "aum", "aum_lower_bound"}
        return {name: -v if name in down else v for name, v in self.columns.items()}


def find_suspects(
    storage: Path,
    cell: str,
    data_dir: Path | None = None,
    *,
    images: Dataset | None = None,
    files: tuple[str, ...] | None = None,
    ask: bool = True,
    score: str = COMBINED,
) -> Suspects:
    """Return the suspects of a cell that is done.

    Args:
        score: name of the column to rank by.
        images: those that the cell was trained on, if they are loaded already.
        files: of these images, if they have any.
        ask: its classifiers about the images, which takes a while.

    Raises:
        ConfigError: there is no such cell, it is not done, its values stayed elsewhere, or it has
            no such score.
        CorruptError: a file of it is damaged.
        DataError: the images in `data_dir` are others than those that it was trained on.
    """
    cell_id = find_cell(storage, cell)
    config, digest = Catalog(storage).config(cell_id)
    values = _samples(storage, cell_id)
    notes: list[str] = []
    dataset = images
    if dataset is None and ask:
        dataset, files = images_of(config, digest, data_dir, notes)
    if dataset is not None:
        dataset = fed(dataset, config.data, digest)
    split = _split(storage, config, digest, dataset)
    curves = _curves(storage, config.probe_id(digest), notes)
    loss = scores.mean_loss(curves) if curves is not None else np.full(len(split.y), np.nan)
    found = Suspects(
        cell_id=cell_id,
        config=config,
        split=split,
        columns={},
        dataset=dataset,
        probabilities=None,
        files=files,
        losses=values["loss"] if np.isnan(loss).all() else loss,
        notes=notes,
    )
    _add_columns(found, storage, digest, curves, values, ask=ask)
    _rank(found, loss, values, score)
    return found


def _rank(found: Suspects, loss: Values, values: Mapping[str, Values], score: str) -> None:
    """Add the combined score, and say by which column samples are ranked.

    Raises:
        ConfigError: there is no column `score`.
    """
    weight, aum = values.get("weight"), found.columns.get("aum")
    combined, made_of = scores.suspicion(loss, values["loss"], weight, aum)
    found.columns = {COMBINED: combined, **found.columns}
    found.ranked_by = score
    if found.ranked_by not in found.columns:
        raise ConfigError(
            f"--score {printable(found.ranked_by)!r}: cell {found.cell_id} has no such score"
            f"{nearest(found.ranked_by, found.columns)}; allowed are {', '.join(found.columns)}"
        )
    if found.ranked_by != COMBINED:
        unseen = np.isnan(found.columns[found.ranked_by]).any()
        name = NAMES.get(found.ranked_by, found.ranked_by.replace("_", " "))
        found.made_of = (name, "last loss") if unseen else (name,)
        return
    found.made_of = made_of
    if aum is not None and "last loss" not in made_of:
        found.notes.append("the last loss is low where the margin is, so it says nothing: not used")
    if weight is not None and "weight" not in made_of:
        found.notes.append("the weight rises with the loss, so it is no trust in a label: not used")


def _samples(storage: Path, cell_id: str) -> dict[str, Values]:
    """Return the last values per sample that the cell's method had.

    Raises:
        ConfigError: it is not done, or has none here.
    """
    store = CellStore(storage)
    result_of(store, cell_id, SAMPLES, "values per sample")
    arrays = store.samples(cell_id)
    if "loss" not in arrays or any(array.ndim != 1 for array in arrays.values()):
        raise CorruptError(f"cell {cell_id}: samples.safetensors has no loss per sample")
    return {name: np.asarray(values, np.float64) for name, values in arrays.items()}


def _split(storage: Path, config: CellConfig, digest: str, dataset: Dataset | None) -> Split:
    """Return the cell's split, stored or made anew; nothing is written."""
    if dataset is None or has_split(storage, config, digest):
        return stored_split(storage, config, digest)
    return made_split(config, digest, dataset, storage)


def _curves(storage: Path, probe_id: str | None, notes: list[str]) -> Values | None:
    """Return the curves that the cell's method read, (N, T); None where there are none."""
    if probe_id is None:
        notes.append("no curves: the method has no probe, so columns that need one are empty")
        return None
    try:
        return np.asarray(CurveStore(storage).read(probe_id), np.float64)
    except CorruptError as error:
        notes.append(f"no curves: {printable(error, 500)}")
        return None


def _add_columns(
    found: Suspects,
    storage: Path,
    digest: str,
    curves: Values | None,
    values: Mapping[str, Values],
    *,
    ask: bool,
) -> None:
    """Fill the scores beside ours; what a sample's curve or image is needed for stays out."""
    columns = found.columns
    if "weight" in values:
        columns["weight"] = values["weight"]
    columns["last_loss"] = values["loss"]
    probe_id = found.config.probe_id(digest)
    if curves is not None:
        classes = int(found.split.believed.max()) + 1
        columns["mean_loss"] = scores.mean_loss(curves)
        margins = CurveStore(storage).margins(probe_id or "")
        if margins is None:
            columns["aum_lower_bound"] = -scores.negative_log_odds(curves)
            columns["forgetting_events"] = scores.forgetting_events(curves, classes)
            found.notes.append(
                "area under the margin and forgetting events are bounds from the losses, since an "
                "older version ran the probe, which kept no margins"
            )
        else:
            columns["aum"] = scores.area_under_margin(np.asarray(margins, np.float64))
            columns["forgetting_events"] = scores.counted_forgetting(np.asarray(margins))
    if found.dataset is None or not ask:
        return
    folder = CellStore(storage).folder(found.cell_id)
    found.probabilities = _ask(found, folder / MODEL, found.config.method)
    asked = found.probabilities
    if probe_id is not None and curves is not None:
        path = CurveStore(storage).folder(probe_id) / MODEL
        asked = _ask(found, path, None) if path.exists() else None
    if asked is not None:
        _add_cleanlab(found, asked, "the probe's" if probe_id else "the final")


def _add_cleanlab(found: Suspects, probabilities: Values, whose: str) -> None:
    of_it = scores.cleanlab_scores(probabilities, found.split.y)
    if of_it is None:
        found.notes.append(f"cleanlab's columns are left out: {INSTALL}")
        return
    found.columns |= {f"cleanlab_{name}": values for name, values in of_it.items()}
    found.notes.append(f"cleanlab's scores are of {whose} classifier, which was trained on these")


def _ask(found: Suspects, path: Path, method: MethodConfig | None) -> Values | None:
    """Return what a classifier says of the training images; None, with a note, if damaged."""
    assert found.dataset is not None
    try:
        return predicted(found.config, found.dataset, found.split, path, method)
    except CorruptError as error:
        found.notes.append(f"no predictions: {printable(error, 300)}")
        return None
