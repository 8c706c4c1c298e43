"""The mathematics of the methods with class prototypes: self-learning and RoLT-DRW."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from planted import WRONG, noisy_method, rand, unit
from sklearn.mixture import GaussianMixture
from torch import Tensor
from toy import (
    NUM_CLASSES,
    NUM_SAMPLES,
    batches,
    labels,
    toy,
    toy_batch,
    toy_set,
)

from curvetune.config import RoLTDRWConfig, SelfLearningConfig
from curvetune.methods import rolt_drw, self_learning
from curvetune.methods.base import effective_number_weights
from curvetune.methods.self_learning import choose_prototypes, mean_cosines
from curvetune.methods.shared.mixture import upper_component
from curvetune.methods.shared.survey import members, survey

# --- self-learning --------------------------------------------------------------------------------


def test_density_and_distinctness_are_those_of_the_papers_formulas() -> None:
    directions = unit(9, 4)
    similarity = directions @ directions.T
    threshold = sorted(similarity.flatten().tolist(), reverse=True)[int(0.4 * 81)]
    found = self_learning.densities(similarity, 0.4)
    expected = [sum(float(np.sign(s - threshold)) for s in row.tolist()) for row in similarity]
    assert found.tolist() == expected
    eta = self_learning.closeness_to_denser(similarity, found)
    for i in range(9):
        denser = [j for j in range(9) if expected[j] > expected[i]]
        row = similarity[i].tolist()
        assert float(eta[i]) == pytest.approx(max(row[j] for j in denser) if denser else min(row))


def test_the_prototypes_of_the_larger_cluster_dominate() -> None:
    large = torch.tensor([1.0, 0.2, 0.0]) + 0.1 * rand(40, 3)
    small = torch.tensor([0.0, 0.2, 1.0]) + 0.1 * rand(10, 3, seed=1)
    chosen = choose_prototypes(F.normalize(torch.cat([large, small])), 8, 0.4, 1.1)
    assert len(chosen) == 8
    assert (chosen < 40).all()


def test_no_prototype_is_close_to_a_denser_one() -> None:
    places = (torch.ones(16) + 0.5 * rand(30, 16)).repeat(4, 1)
    directions = F.normalize(places + 0.01 * rand(120, 16, seed=1))  # four copies of each, almost
    similarity = directions @ directions.T
    density = self_learning.densities(similarity, 0.4).tolist()

    def closest(below: float) -> float:
        chosen = choose_prototypes(directions, 8, 0.4, below).tolist()
        pairs = [(i, j) for i in chosen for j in chosen if density[j] > density[i]]
        return max(float(similarity[i, j]) for i, j in pairs)

    assert closest(0.95) < 0.95 < closest(1.1)


def test_the_densest_fill_up_where_few_samples_are_distinct() -> None:
    tight = torch.tensor([1.0, 0.0]) + 1e-3 * rand(20, 2)
    directions = F.normalize(torch.cat([tight, torch.tensor([[0.0, 1.0]])]))
    chosen = choose_prototypes(directions, 8, 0.4, 0.95).tolist()
    assert len(chosen) == len(set(chosen)) == 8
    assert chosen.count(20) == 1  # the stranger is distinct, but one of eight
    assert choose_prototypes(directions[:1], 8, 0.4, 0.95).tolist() == [0]


def test_the_mean_of_cosines_is_that_of_a_loop_and_an_empty_class_never_wins() -> None:
    directions, prototypes = unit(6, 4), unit(5, 4, seed=1)
    centres = torch.stack([prototypes[:3].mean(0), prototypes[3:].mean(0), prototypes[:0].mean(0)])
    found = mean_cosines(directions, centres)
    for i in range(6):
        for k, group in enumerate((prototypes[:3], prototypes[3:])):
            expected = F.cosine_similarity(directions[i][None], group).mean()
            torch.testing.assert_close(found[i, k], expected)
    assert (found[:, 2] < -1).all()


def test_prototypes_correct_planted_wrong_labels() -> None:
    method = noisy_method(SelfLearningConfig(correct_start=0.0))
    method.start_epoch(0)
    common = labels() < 2  # class 2 has two samples
    assert torch.equal(method._corrected[WRONG], labels()[WRONG])
    assert (method._corrected == labels())[common].float().mean() > 0.9


def test_labels_are_the_given_ones_until_the_correction_starts() -> None:
    method: Any = toy(("self-learning", {"correct_start": 1.0}))  # the drop is at epoch 2
    shares = []
    for epoch in range(4):
        method.start_epoch(epoch)
        shares.append(method._share)
    assert shares == [0, 0, 0.5, 0.5]


@pytest.mark.parametrize("options", [{"corrected_share": 0.0}, {"correct_start": 1.0}])
def test_self_learning_without_corrected_labels_is_cross_entropy(options: dict[str, float]) -> None:
    method, plain = (
        toy(("self-learning", {"correct_start": 0.0} | options)),
        toy(("cross-entropy", {})),
    )
    for m in (method, plain):
        m.start_epoch(0)
        for batch in batches(3):
            m.step(batch, None)
    for a, b in zip(method.model.parameters(), plain.model.parameters(), strict=True):
        torch.testing.assert_close(a, b)


def test_the_loss_mixes_both_labels_and_the_weight_is_the_share_of_the_given_one() -> None:
    method: Any = toy(("self-learning", {"correct_start": 0.0, "corrected_share": 0.3}))
    method.start_epoch(0)
    batch = batches(1)[0]
    method._corrected[batch.index[:5]] = (batch.y[:5] + 1) % 3
    method._corrected[batch.index[5:]] = batch.y[5:]
    log_p = copy.deepcopy(method.model)(batch.x).log_softmax(dim=1)
    given = -log_p[torch.arange(20), batch.y]
    other = -log_p[torch.arange(20), method._corrected[batch.index]]
    found = method.step(batch, None)
    torch.testing.assert_close(found["loss"], (0.7 * given + 0.3 * other).detach())
    torch.testing.assert_close(found["weight"], torch.tensor([0.7] * 5 + [1.0] * 15))


# --- RoLT-DRW -------------------------------------------------------------------------------------


def test_the_mixture_splits_every_class_as_scikit_learn_does() -> None:
    draw = np.random.default_rng(0)
    rows = [
        np.concatenate([draw.normal(0.8, 0.08, 300), draw.normal(0.3, 0.1, 100)]),
        np.concatenate([draw.normal(0.7, 0.15, 60), draw.normal(0.4, 0.05, 60)]),
        draw.beta(4, 2, 200),
        np.array([0.0, 1.0, 0.9]),
        np.array([0.0, 1.0]),
    ]
    values, mask = torch.full((5, 400), 7.0), torch.zeros(5, 400, dtype=torch.bool)
    for k, row in enumerate(rows):
        values[k, : len(row)], mask[k, : len(row)] = torch.tensor(row), True
    found = upper_component(values, mask)
    for k, row in enumerate(rows):
        mixture = GaussianMixture(2, random_state=0).fit(row[:, None])
        expected = mixture.predict_proba(row[:, None])[:, mixture.means_.argmax()]
        np.testing.assert_allclose(found[k, : len(row)], expected, atol=1e-6)


def test_samples_near_their_prototype_are_told_from_those_far_from_it() -> None:
    y = torch.tensor([0] * 30 + [1] * 6 + [2] * 4 + [3])  # class 4 is empty
    own = -0.2 + 0.01 * rand(41)
    own[:8] -= 0.5  # wrong labels of class 0
    own[30:32] -= 0.5
    own[36:40] = -0.3  # all the same: nothing to split
    near = rolt_drw.near_samples(own, members(y, 5))
    assert near[:8].sum() == 0
    assert near[30:32].sum() == 0
    assert near[8:30].float().mean() > 0.8
    assert near[36:].all()


def test_nearness_is_minus_the_squared_distance_to_the_mean_of_those_kept() -> None:
    directions, y = rolt_drw.centre_and_scale(rand(12, 4)), torch.arange(12) % 3
    keep = torch.arange(12) >= 3
    found = rolt_drw.nearness(directions, y, keep, 4)
    for k in range(3):
        mean = torch.stack(
            [d for d, j, kept in zip(directions, y, keep, strict=True) if j == k and kept]
        )
        torch.testing.assert_close(found[:, k], -((directions - mean.mean(0)) ** 2).sum(1))
    assert (found[:, 3] == -4).all()
    assert (found[:, :3] > -4).all()


def test_distances_ignore_the_scale_and_the_origin_of_features() -> None:
    seen = rand(10, 4)
    directions = rolt_drw.centre_and_scale(seen)
    torch.testing.assert_close(directions.norm(dim=1), torch.ones(10))
    torch.testing.assert_close(rolt_drw.centre_and_scale(30 * seen + 7), directions)


def test_far_samples_learn_from_four_labels() -> None:
    y, near = torch.tensor([0, 0]), torch.tensor([True, False])
    found = rolt_drw.soft_labels(y, near, torch.tensor([1, 1]), torch.tensor([2, 2]), 4)
    golden = torch.tensor([[1, 0, 0, 0], [0.25, 0.45, 0.25, 0.05]])
    torch.testing.assert_close(found, golden)


def test_late_labels_are_half_fixed_and_half_given_or_uniform() -> None:
    y, near = torch.tensor([0, 0, 0]), torch.tensor([True, False, True])
    found = rolt_drw.late_labels(y, near, torch.tensor([0, 1, 1]), 4)
    golden = torch.tensor([[1, 0, 0, 0], [0.125, 0.625, 0.125, 0.125], [0.5, 0.5, 0, 0]])
    torch.testing.assert_close(found, golden)


def test_planted_wrong_labels_are_far_and_the_classifier_relabels_them() -> None:
    method = noisy_method(RoLTDRWConfig(clean_start=0.0))
    method.start_epoch(0)
    common = labels() < 2  # class 2 has two samples
    right = common.clone()
    right[WRONG] = False
    assert not method._near[WRONG].any()
    assert method._near[right].float().mean() > 0.6
    method.start_epoch(2)  # the learning rate dropped
    assert torch.equal(method._fixed[WRONG], labels()[WRONG])


def test_class_weights_start_at_the_drop_and_count_the_fixed_labels() -> None:
    method = noisy_method(RoLTDRWConfig(clean_start=0.5))
    seen = []
    for epoch in range(4):
        method.start_epoch(epoch)
        seen.append(method._class_weights.clone())
    assert torch.equal(seen[0], torch.ones(3))
    assert torch.equal(seen[1], torch.ones(3))
    counts = torch.bincount(method._fixed, minlength=3)
    assert not torch.equal(method._fixed, method._y)
    torch.testing.assert_close(seen[2], effective_number_weights(counts, 0.9999))
    assert torch.equal(seen[3], seen[2])


def test_the_labels_of_a_batch_are_given_then_soft_then_late() -> None:
    method = noisy_method(RoLTDRWConfig(clean_start=0.5))  # soft at 1, late at 2
    batch = toy_batch(torch.tensor([0, 4]))
    batch = batch._replace(y=torch.tensor([0, 1]))  # the second is wrong, and far
    found = []
    for epoch in range(3):
        method.start_epoch(epoch)
        found.append(method._labels(batch)[1])
        method._near[:5] = torch.tensor([True, True, True, True, False])
    torch.testing.assert_close(found[0], torch.tensor([0.0, 1.0, 0.0]))
    third = 0.2 / 3
    torch.testing.assert_close(found[1], torch.tensor([0.6 + third, 0.2 + third, third]))
    torch.testing.assert_close(found[2], torch.tensor([0.5 + 0.5 / 3, 0.5 / 3, 0.5 / 3]))


def test_the_late_step_weighs_labels_by_class_and_divides_by_their_sum() -> None:
    method = noisy_method(RoLTDRWConfig())
    method.start_epoch(2)
    batch = batches(1)[0]
    model, weights = copy.deepcopy(method.model), method._class_weights
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, weight_decay=5e-4)
    log_p, targets = model(batch.x).log_softmax(dim=1), method._labels(batch)
    above, below = torch.tensor(0.0), 0.0
    for i in range(20):
        for k in range(3):
            above = above - targets[i, k] * weights[k] * log_p[i, k]
            below += float(targets[i, k] * weights[k])
    (above / below).backward()
    optimizer.step()
    method._optimizer.param_groups[0]["momentum"] = 0.0
    method._optimizer.param_groups[0]["nesterov"] = False
    method._optimizer.param_groups[0]["lr"] = 0.02
    method.step(batch, None)
    for a, b in zip(method.model.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_the_classifiers_labels_are_those_of_the_published_average() -> None:
    """The repository divides its average by 1 − 0.6^t at each pass; only the scale differs."""
    method: Any = toy(("rolt-drw", {"clean_start": 0.0}))
    average: Tensor = torch.zeros(NUM_SAMPLES, NUM_CLASSES)
    for epoch in range(4):
        seen = survey(method.model, toy_set()).logits
        average = 0.6 * average + 0.4 * seen
        method.start_epoch(epoch)
        for batch in batches(2):
            method.step(batch, None)
    torch.testing.assert_close(method._by_classifier, average)


def test_rolt_without_deferred_weights_keeps_its_soft_labels() -> None:
    method: Any = toy(("rolt", {"clean_start": 0.0, "drw": False}))
    for epoch in range(5):
        method.start_epoch(epoch)
    assert torch.equal(method._class_weights, torch.ones(NUM_CLASSES))
    assert torch.equal(method._fixed, labels())
