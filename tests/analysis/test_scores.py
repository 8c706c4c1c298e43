"""Scores of labels against slow or other versions of each."""

import numpy as np
import pytest
import torch
from sklearn.metrics import recall_score, roc_auc_score

from curvetune.analysis import scores
from curvetune.probe.recording import Recording


def test_auroc_is_sklearns_also_with_ties() -> None:
    rng = np.random.default_rng(0)
    wrong = rng.random(200) < 0.3
    score = np.round(rng.normal(size=200) + wrong, 1)
    assert scores.auroc(score, wrong) == pytest.approx(roc_auc_score(wrong, score))
    assert scores.auroc(score, np.zeros(200, bool)) is None


def test_precision_of_ties_is_the_mean_over_all_orders() -> None:
    score = np.array([3.0, 2.0, 2.0, 2.0, 1.0])
    wrong = np.array([True, True, False, False, True])
    assert scores.precision_at(score, wrong, 1) == 1
    # of the second place, each of three is as likely
    assert scores.precision_at(score, wrong, 2) == pytest.approx((1 + 1 / 3) / 2)
    assert scores.precision_at(score, wrong, 6) is None


def test_the_bound_of_the_area_under_the_margin_holds_for_real_logits() -> None:
    logits = torch.randn(50, 7, 10, generator=torch.Generator().manual_seed(0)) * 3
    y = torch.arange(50) % 10
    given = logits[torch.arange(50), :, y]
    others = logits.scatter(2, y[:, None, None].expand(50, 7, 1), -torch.inf)
    aum = (given - others.amax(dim=2)).mean(dim=1).numpy()
    curves = -(logits.log_softmax(dim=2)[torch.arange(50), :, y]).double().numpy()
    bound = -scores.negative_log_odds(curves)
    assert (bound <= aum + 1e-4).all()
    assert (aum <= bound + np.log(9) + 1e-4).all()


def test_forgetting_events_never_exceed_those_of_the_predictions() -> None:
    logits = torch.randn(80, 20, 3, generator=torch.Generator().manual_seed(1)) * 2
    right = (logits.argmax(dim=2) == 0).int()
    true = ((right[:, 1:] - right[:, :-1]) == -1).sum(dim=1).numpy()
    curves = -logits.log_softmax(dim=2)[:, :, 0].double().numpy()
    found = scores.forgetting_events(curves, 3)
    learnt = (curves < np.log(2)).any(axis=1)
    assert (found[learnt] <= true[learnt]).all()
    assert found[learnt].sum() > true[learnt].sum() / 2
    assert (found[~learnt] == 20).all()
    half, wrong = -np.log(0.6), -np.log(0.1)
    by_hand = scores.forgetting_events(np.array([[half, wrong, half, 0.9, wrong]]), 3)
    assert by_hand.tolist() == [2]  # 0.9 lies between: it may be either


def test_the_area_under_the_margin_and_forgetting_are_those_of_logits_and_predictions() -> None:
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(80, 20, 3, generator=generator) * 2
    y = torch.arange(80) % 3
    kept = [Recording(y, with_exact_loss=True)({"logits": z}) for z in logits.unbind(1)]
    margins = torch.stack([one["margin"] for one in kept], 1).numpy()
    given = logits.numpy()[np.arange(80), :, y]
    others = np.where(np.arange(3) == y.numpy()[:, None, None], -np.inf, logits.numpy())
    aum = scores.area_under_margin(margins.astype(np.float64))
    assert np.allclose(aum, (given - others.max(2)).mean(1), atol=1e-2)
    right = logits.numpy().argmax(2) == y.numpy()[:, None]
    lost = [sum(row[t] and not row[t + 1] for t in range(19)) for row in right]
    assert scores.counted_forgetting(margins).tolist() == lost
    curves = torch.stack([one["loss"] for one in kept], 1).double().numpy()
    bound = scores.forgetting_events(curves, 3)
    learnt = (curves < np.log(2)).any(axis=1)
    assert (bound[learnt] <= np.array(lost)[learnt]).all()


def test_a_sample_that_was_never_right_was_forgotten_always_and_one_never_seen_is_not_known() -> (
    None
):
    margins = np.array([[-1, -0.0, -2], [0.0, -0.0, 1], [np.nan] * 3, [np.nan, 1, -1]], np.float16)
    assert scores.counted_forgetting(margins)[[0, 1, 3]].tolist() == [3, 1, 1]
    assert np.isnan(scores.counted_forgetting(margins)[2])
    assert np.isnan(scores.area_under_margin(margins.astype(np.float64))[2])
    assert scores.area_under_margin(margins.astype(np.float64))[3] == 0


def test_the_false_negative_rate_is_what_recall_leaves_at_the_noise_rate() -> None:
    rng = np.random.default_rng(0)
    wrong = rng.random(500) < 0.3
    score = rng.normal(size=500) + wrong
    checked = np.zeros(500, bool)
    checked[np.argsort(-score)[: wrong.sum()]] = True
    found = scores.false_negative_rate(score, wrong)
    assert found == pytest.approx(1 - recall_score(wrong, checked))
    assert scores.false_negative_rate(score, np.zeros(500, bool)) is None
    assert scores.false_negative_rate(np.zeros(500), wrong) == pytest.approx(1 - wrong.mean())
