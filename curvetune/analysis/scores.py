"""How suspicious a label is, by what a run leaves behind: a number per sample, higher is worse.

A probe keeps a loss per sample and epoch, that of the given label: l = −log p(given), and a margin,
the given label's logit less the largest other. Area under the margin and forgetting events are
exact from margins. Probes of older versions have none. What a loss says for certain is given then,
and named a bound.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from curvetune.analysis.ranks import ranks

Values = NDArray[np.float64]  # (N,), or (N, T) of curves; NaN where a probe never saw a sample
Labels = NDArray[np.int64]
Wrong = NDArray[np.bool_]

TINY = 1e-7  # a loss below this is taken for it: a float32 softmax cannot tell p from 1 there


def ranked(score: Values, last_loss: Values) -> Values:
    """Return percentiles of a score, (N,); a sample without one is ranked by its last loss."""
    seen = ~np.isnan(score)
    places = np.empty(len(score))
    places[seen] = percentiles(score[seen])
    places[~seen] = percentiles(last_loss[~seen])
    return places


def suspicion(
    loss: Values, last_loss: Values, weight: Values | None, aum: Values | None = None
) -> tuple[Values, tuple[str, ...]]:
    """Return the combined score, (N,), in 0 to 1, and what it is made of.

    It is the mean of percentiles, the worst being 1: of the area under the margin, of the last loss
    and of the method's final weight. Where the probe kept no margins, it is of the mean loss over
    the probe's epochs and of the weight. Samples without a curve are ranked by their last loss.

    A weight that rises with the loss is left out. Such a method (focal loss always, Meta-Weight-Net
    where classes are rare) favours what is hard, which says nothing about labels. A last loss that
    falls as the margin does is left out too: O2U-Net never trains on what it takes for wrong, and
    leaves its loss at zero.

    Args:
        loss: mean loss over the probe, (N,); NaN where there is none.
        last_loss: of the final training, (N,).
        weight: of the final training, (N,); None if the method has none.
        aum: area under the margin, (N,), NaN where there is none; None without margins.
    """
    seen = ~np.isnan(loss)
    by_probe = ranked(loss if aum is None else -aum, last_loss)
    parts, names = [by_probe], []
    if seen.any():
        names.append("mean loss" if aum is None else "area under the margin")
    by_last = percentiles(last_loss)
    if aum is not None and _agree(by_probe, by_last):
        parts.append(by_last)
        names.append("last loss")
    elif not seen.all():
        names.append("last loss")
    if weight is not None and _agree(by_probe, by_weight := percentiles(-weight)):
        parts.append(by_weight)
        names.append("weight")
    return np.mean(parts, axis=0), tuple(names)


def _agree(these: Values, those: Values) -> bool:
    """Say whether two rankings, (N,), go the same way: the sign of Spearman's correlation."""
    return bool(np.cov(these, those)[0, 1] > 0)


def percentiles(values: Values) -> Values:
    """Return where each value stands among all, in 0 to 1; equal ones share the middle."""
    return np.asarray((ranks(values) - 0.5) / max(len(values), 1), np.float64)


def mean_loss(curves: Values) -> Values:
    """Return the mean over the epochs in which a sample was seen, (N,); NaN if in none."""
    return _mean(curves)


def area_under_margin(margins: Values) -> Values:
    """Return the mean margin over the epochs in which a sample was seen, (N,); NaN if in none.

    Pleiss et al., NeurIPS 2020, Eq. 1: low for a wrong label. Margins are stored in 16 bits, so it
    is right to one part in 2048.
    """
    return _mean(margins)


def negative_log_odds(curves: Values) -> Values:
    """Return minus the mean log odds of the given label, (N,).

    log p/(1 − p) = z_y − logsumexp of the other logits. The margin z_y − max of the others, whose
    mean is the area under the margin (Pleiss et al., NeurIPS 2020), is at least that, and at most
    log(K − 1) more. So this is minus a lower bound of it, and for two classes minus itself.
    """
    return _mean(np.log(np.expm1(np.maximum(curves, TINY))))


def counted_forgetting(margins: Values) -> Values:
    """Return how often a sample was forgotten, (N,); T if it was never learnt.

    Toneva et al., ICLR 2019: a right prediction that is wrong when the sample is next seen. A
    margin's sign bit says that the prediction was wrong (probe/recording.py).
    """
    events = np.empty(len(margins))
    for k, row in enumerate(margins):
        right = ~np.signbit(row[~np.isnan(row)])
        lost = right[:-1] & ~right[1:]
        events[k] = lost.sum() if right.any() else margins.shape[1]
    events[np.isnan(margins).all(axis=1)] = np.nan
    return events


def forgetting_events(curves: Values, num_classes: int) -> Values:
    """Return how often a sample was surely forgotten, (N,); T if it was surely never learnt.

    Toneva et al., ICLR 2019, count the epochs in which a right prediction becomes a wrong one, and
    put what was never right last. A prediction is surely right where p > 1/2, and surely wrong
    where p < 1/K; between the two a loss does not tell. So this is at most the true number.
    """
    state = np.where(curves < np.log(2), 1, np.where(curves > np.log(num_classes), 0, -1))
    events = np.empty(len(curves))
    for k, row in enumerate(state):
        known = row[row >= 0]
        events[k] = (np.diff(known) == -1).sum() if (known == 1).any() else curves.shape[1]
    events[np.isnan(curves).all(axis=1)] = np.nan
    return events


def best_other(probabilities: Values, y: Labels) -> Labels:
    """Return the likeliest class that is not the given one, (N,), from probabilities (N, K)."""
    others = probabilities.copy()
    others[np.arange(len(y)), y] = -1.0
    return np.asarray(others.argmax(axis=1), np.int64)


def auroc(score: Values, wrong: Wrong) -> float | None:
    """Return the chance that a wrong label scores above a right one; None without both.

    Samples whose score is NaN are left out.
    """
    known = ~np.isnan(score)
    score, wrong = score[known], wrong[known]
    bad, good = int(wrong.sum()), int((~wrong).sum())
    if not bad or not good:
        return None
    return float((ranks(score)[wrong].sum() - bad * (bad + 1) / 2) / (bad * good))


def precision_at(score: Values, wrong: Wrong, k: int) -> float | None:
    """Return the share of wrong labels among the `k` highest scores, ties by chance's mean.

    Returns None where fewer than `k` scores are known.
    """
    known = ~np.isnan(score)
    score, wrong = score[known], wrong[known]
    if k < 1 or len(score) < k:
        return None
    edge = np.sort(score)[-k]
    above, level = score > edge, score == edge
    return float((wrong[above].sum() + wrong[level].mean() * (k - above.sum())) / k)


def false_negative_rate(score: Values, wrong: Wrong) -> float | None:
    """Return the share of wrong labels that are missed if as many are checked as are wrong.

    The budget is the noise rate's, the highest scores are checked, and ties are as chance has them.
    Returns None where no score of a wrong label is known.
    """
    bad = int(wrong[~np.isnan(score)].sum())
    found = precision_at(score, wrong, bad)
    return None if found is None else 1 - found


def evaluate(
    scores: Mapping[str, Values], wrong: Wrong, ks: tuple[int, ...]
) -> dict[str, dict[str, float | None]]:
    """Return AUROC, false-negative rate and precision at each of `ks` of each score."""
    return {
        name: {
            "auroc": auroc(score, wrong),
            "false_negative_rate": false_negative_rate(score, wrong),
        }
        | {f"precision_at_{k}": precision_at(score, wrong, k) for k in ks}
        for name, score in scores.items()
    }


def cleanlab_scores(probabilities: Values, y: Labels) -> dict[str, Values] | None:
    """Return cleanlab's two scores, turned round so that higher is worse; None without cleanlab.

    Northcutt et al., JAIR 2021. It expects probabilities of a model that has not seen the sample;
    a probe's classifier has, as every score here.
    """
    try:
        from cleanlab.rank import get_label_quality_scores
    except ImportError:
        return None
    return {
        method: 1 - np.asarray(get_label_quality_scores(y, probabilities, method=method))
        for method in ("self_confidence", "normalized_margin")
    }


def _mean(values: Values) -> Values:
    seen = ~np.isnan(values)
    counts = seen.sum(axis=1)
    sums = np.where(seen, values, 0.0).sum(axis=1)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
