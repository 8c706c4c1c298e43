"""The mathematics of the methods that judge labels by features: CleanNet and MetaCleaner."""

import copy
from collections import Counter
from itertools import groupby, pairwise
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from planted import WRONG, noisy_method, rand, seeded
from pydantic import ValidationError
from toy import (
    NUM_SAMPLES,
    batches,
    pretrained,
    toy,
    toy_batch,
    toy_set,
)

from curvetune.config import CleanNetConfig
from curvetune.methods import metacleaner
from curvetune.methods.cleannet import Labelled, class_references, sample_weights
from curvetune.methods.shared.survey import members, survey
from curvetune.models import features, last_layer
from curvetune.models.cleannet import CleanNet, unverified_loss, verified_loss

# --- what they share ------------------------------------------------------------------------------


def test_a_survey_sees_images_in_order_as_evaluation_does_and_leaves_the_mode() -> None:
    model = pretrained()
    model.train()
    seen = survey(model, toy_set())
    assert model.training
    model.eval()
    (whole,) = toy_set().ordered(NUM_SAMPLES)
    torch.testing.assert_close(seen.logits, model(whole.x))
    torch.testing.assert_close(seen.features, features(model, whole.x))


def test_members_are_the_positions_of_each_label() -> None:
    y = torch.tensor([3, 0, 3, 1, 0, 3])
    rows, mask = members(y, 5)
    found = [row[here].tolist() for row, here in zip(rows, mask, strict=True)]
    assert found == [[1, 4], [3], [], [0, 2, 5], []]


# --- CleanNet -------------------------------------------------------------------------------------


def test_cleannets_loss_has_the_published_values() -> None:
    similarity, right = torch.tensor([1.0, 0.1, 1.0, -1.0]), torch.tensor([1.0, 0.0, 0.0, 1.0])
    expected = torch.tensor([0.0, 0.0, 4.5, 2.0])
    torch.testing.assert_close(verified_loss(similarity, right, 5.0), expected)


def test_unverified_samples_are_pushed_to_the_side_of_the_margin_that_they_are_on() -> None:
    similarity = torch.tensor([0.3, 0.0999, 0.1], requires_grad=True)
    losses = unverified_loss(similarity, 5.0)
    losses.sum().backward()
    torch.testing.assert_close(losses.detach(), torch.tensor([0.7, 0.0, 0.9]))
    assert similarity.grad is not None
    assert similarity.grad.tolist() == [-1, 0, -1]


def test_cleannet_has_the_published_layers() -> None:
    net = CleanNet(2048, 256, 128, seeded())
    shapes = [tuple(p.shape) for p in net.parameters() if p.dim() == 2]
    encoder, decoder = [(256, 2048), (128, 256)], [(256, 128), (2048, 256)]
    classes = [(512, 2048), (256, 512), (256, 256), (128, 256)]
    assert sorted(shapes) == sorted([(256, 1), *encoder, *decoder, *classes])


def test_a_class_code_depends_on_its_references_but_not_on_their_order_or_copies() -> None:
    net, references = CleanNet(6, 8, 4, seeded()), rand(2, 5, 6)
    codes = net.classes(references)
    order = torch.randperm(5, generator=seeded())
    torch.testing.assert_close(net.classes(references[:, order]), codes)
    torch.testing.assert_close(net.classes(torch.cat([references, references], dim=1)), codes)
    assert not torch.allclose(net.classes(references[:, :3]), codes)


def test_the_attention_is_that_of_the_paper_done_one_reference_at_a_time() -> None:
    net, references = CleanNet(6, 8, 4, seeded()), rand(1, 5, 6)
    first, second = net.reference[0], net.reference[2]
    hidden = [torch.tanh(second(torch.tanh(first(v)))) for v in references[0]]
    scores = [(torch.tanh(net.attention[0](h)) * net.context[:, 0]).sum().exp() for h in hidden]
    attended = sum(a / sum(scores) * h for a, h in zip(scores, hidden, strict=True))
    torch.testing.assert_close(net.classes(references)[0], torch.tanh(net.summary[0](attended)))


def test_references_are_the_centres_of_planted_clusters() -> None:
    centres = np.array([[0, 0], [10, 0], [0, 10]], np.float32)
    offsets = np.array([[1, 0], [-1, 0], [0, 1], [0, -1]], np.float32)
    seen = (centres[:, None] + offsets[None]).reshape(-1, 2)
    found = class_references(seen, 3)
    np.testing.assert_allclose(sorted(found.tolist()), sorted(centres.tolist()), atol=1e-5)


def test_a_class_with_few_features_is_its_own_reference() -> None:
    two = np.array([[1, 2], [3, 4], [1, 2]], np.float32)
    assert class_references(two, 5).tolist() == [[1, 2], [3, 4], [1, 2], [3, 4], [1, 2]]
    assert class_references(two[:0], 2).tolist() == [[0, 0], [0, 0]]


def test_weights_are_the_similarity_cut_at_zero_or_its_side_of_the_threshold() -> None:
    similarity = torch.tensor([-0.5, 0.0, 0.1, 0.7])
    soft = sample_weights(similarity, "soft", 0.1)
    torch.testing.assert_close(soft, torch.tensor([0.0, 0.0, 0.1, 0.7]))
    assert sample_weights(similarity, "hard", 0.1).tolist() == [0, 0, 1, 1]


def test_every_second_verified_label_is_wrong_and_says_so() -> None:
    method: Any = toy(("cleannet", {"meta_batch_size": 400}))
    y = torch.arange(30) % 3
    drawn, right = method._verified(Labelled(F.one_hot(y, 3).float(), y))
    true = drawn.seen.argmax(dim=1)
    assert torch.equal(right, (drawn.y == true).float())
    assert float(right.mean()) == 0.5
    pairs = Counter(zip(true.tolist(), drawn.y.tolist(), strict=True))
    assert set(pairs) == {(a, b) for a in range(3) for b in range(3)}


@torch.no_grad()
def test_cleannets_loss_over_both_batches_is_the_sum_of_its_terms() -> None:
    method: Any = toy(("cleannet", {"cleannet_steps": 1, "query_width": 8, "code_width": 4}))
    net, references = method._net, rand(3, 5, 64).abs()
    verified = Labelled(rand(4, 64, seed=1).abs(), torch.tensor([0, 1, 2, 1]))
    unverified = Labelled(rand(4, 64, seed=2).abs(), torch.tensor([2, 2, 0, 1]))
    right = torch.tensor([1.0, 0.0, 1.0, 0.0])
    classes, total = net.classes(references), 0.0
    for part, flags in ((verified, right.tolist()), (unverified, [None] * 4)):
        for seen, k, flag in zip(part.seen, part.y.tolist(), flags, strict=True):
            code = net.encoder(seen)
            s = float(code @ classes[k] / (code.norm() * classes[k].norm()))
            v, share = (s >= 0.1, 0.1) if flag is None else (flag == 1, 1.0)
            total += share * (1 - s if v else 5 * max(0.0, s - 0.1))
            total += 0.1 * float(((seen - net.decoder(code)) ** 2).sum())
    found = float(method._loss(verified, right, unverified, references))
    assert found == pytest.approx(total / 8, rel=1e-5)


def test_a_round_gives_wrong_labels_less_weight() -> None:
    method = noisy_method(CleanNetConfig(cleannet_steps=200, rounds=(0.0,)))
    method.start_epoch(0)
    wrong = torch.zeros(NUM_SAMPLES, dtype=torch.bool)
    wrong[WRONG] = True
    assert method._weights[~wrong].mean() > method._weights[wrong].mean() + 0.3
    assert ((method._weights >= 0) & (method._weights <= 1)).all()


def flags() -> torch.Tensor:
    """Return a flag for every second sample, and one for each wrong label but the first two."""
    found = torch.full((NUM_SAMPLES,), -1, dtype=torch.int8)
    found[::2] = 1
    found[WRONG[:2]] = -1
    found[WRONG[2:]] = 0
    return found


def test_flags_of_the_data_are_what_cleannet_learns_from() -> None:
    config = CleanNetConfig(meta_batch_size=500)
    method = noisy_method(config, flags())
    position = torch.arange(NUM_SAMPLES)
    known, right, unknown = method._judged(Labelled(position[:, None].float(), position))
    assert torch.equal(right, flags()[known.y].float())
    assert set(known.y.tolist()) == set(position[flags() >= 0].tolist())
    assert set(unknown.y.tolist()) == set(position[flags() < 0].tolist())
    everywhere = noisy_method(config, torch.ones(NUM_SAMPLES, dtype=torch.int8))
    _, right, unknown = everywhere._judged(Labelled(position[:, None].float(), position))
    assert right.min() == 1
    assert len(set(unknown.y.tolist())) == NUM_SAMPLES


def test_a_round_on_flags_gives_wrong_labels_without_a_flag_less_weight_too() -> None:
    method = noisy_method(CleanNetConfig(cleannet_steps=200, rounds=(0.0,)), flags())
    method._clean = None  # which is not asked
    method.start_epoch(0)
    right = torch.ones(NUM_SAMPLES, dtype=torch.bool)
    right[WRONG] = False
    assert method._weights[right].mean() > method._weights[WRONG].mean() + 0.3
    assert method._weights[right].mean() > method._weights[WRONG[:2]].mean()


def test_weights_are_one_before_the_first_round_and_stay_between_rounds() -> None:
    method: Any = toy(("cleannet", {"cleannet_steps": 3, "rounds": (0.2, 0.4)}))  # of ten epochs
    seen = []
    for epoch in range(6):
        method.start_epoch(epoch)
        seen.append(method._weights.clone())
        method.step(batches(1)[0], None)
    assert torch.equal(seen[0], torch.ones(NUM_SAMPLES))
    renewed = [not torch.equal(a, b) for a, b in pairwise(seen)]
    assert renewed == [False, True, False, True, False]


def test_rounds_must_rise() -> None:
    with pytest.raises(ValidationError, match="rounds must rise"):
        CleanNetConfig(rounds=(0.5, 0.2))


# --- MetaCleaner ----------------------------------------------------------------------------------


def test_groups_of_one_reduce_metacleaner_to_the_plain_classifier() -> None:
    method, plain = toy(("metacleaner", {"group_size": 1})), toy(("cross-entropy", {}))
    for m in (method, plain):
        m.start_epoch(0)
    for batch in batches(3):
        found, expected = method.step(batch, None), plain.step(batch, None)
        torch.testing.assert_close(found["loss"], expected["loss"], rtol=1e-4, atol=1e-5)
        assert torch.equal(found["weight"], torch.ones(20))
    for a, b in zip(method.model.parameters(), plain.model.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_the_clean_feature_ignores_the_scale_of_the_scores_and_the_order_of_the_samples() -> None:
    seen, scores = rand(4, 5, 6), rand(4, 5, seed=1).exp()
    clean, shares = metacleaner.hallucinate(seen, scores)
    torch.testing.assert_close(metacleaner.hallucinate(seen, 1e-3 * scores)[0], clean)
    order = torch.randperm(5, generator=seeded())
    torch.testing.assert_close(metacleaner.hallucinate(seen[:, order], scores[:, order])[0], clean)
    even, _ = metacleaner.hallucinate(seen, torch.full((4, 5), 0.2))
    torch.testing.assert_close(even, seen.mean(dim=1))
    torch.testing.assert_close(shares.sum(dim=1), torch.ones(4))


@pytest.mark.parametrize("size", [1, 3, 5])
@pytest.mark.parametrize("count", [1, 2, 17, 128])
def test_every_sample_of_a_batch_is_in_one_group_of_its_label(size: int, count: int) -> None:
    y = torch.randint(4, (count,), generator=seeded(count))
    table, row, slot = metacleaner.group(y, size)
    assert torch.equal(table[row, slot], torch.arange(count))
    filled = [r[r < count] for r in table]
    assert sum(len(r) for r in filled) == count
    assert all(len(set(y[r].tolist())) == 1 for r in filled if len(r))
    expected = sum(-(-n // size) for n in Counter(y.tolist()).values())
    assert [len(r) > 0 for r in filled] == [k < expected for k in range(count)]


def test_a_step_is_that_of_a_loop_over_groups() -> None:
    method: Any = toy(("metacleaner", {"group_size": 3}))
    method.start_epoch(0)
    model, layer = copy.deepcopy(method.model), copy.deepcopy(method._weighting.layer)
    optimizer = torch.optim.SGD(
        [*model.parameters(), *layer.parameters()],
        **{k: method._optimizer.defaults[k] for k in ("momentum", "nesterov", "weight_decay")},
        lr=0.02,
    )
    batch = toy_batch(torch.tensor([0, 1, 2, 3, 4, 6, 8, 59, 5]))  # labels 0 1 0 1 0 0 0 2 1
    groups = [[0, 2, 4], [5, 6], [1, 3, 8], [7]]
    seen, losses, weights = features(model, batch.x), [], torch.zeros(9)
    for members_of in groups:
        padded = torch.cat([seen[members_of], torch.zeros(3 - len(members_of), seen.shape[1])])
        alpha = torch.sigmoid(layer(padded.flatten()))[: len(members_of)]
        clean = sum(a * seen[i] for a, i in zip(alpha, members_of, strict=True)) / alpha.sum()
        logits = last_layer(model)(clean)
        losses.append(-logits.log_softmax(dim=0)[batch.y[members_of[0]]])
        weights[members_of] = (alpha / alpha.sum() * len(members_of)).detach()
    torch.stack(losses).mean().backward()
    optimizer.step()
    found = method.step(batch, None)
    torch.testing.assert_close(found["weight"], weights)
    for a, b in zip(method.model.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(method._weighting.layer.weight, layer.weight)


def test_an_epoch_visits_every_sample_once_in_groups_of_a_label() -> None:
    y = torch.randint(5, (203,), generator=seeded())
    order = metacleaner.grouped_order(y, 4, seeded(1))
    assert order.sort().values.tolist() == list(range(203))
    rests: Counter[int] = Counter()
    for label, run in groupby(y[order].tolist()):
        rests[label] += len(list(run)) % 4
    assert rests == Counter({k: n % 4 for k, n in Counter(y.tolist()).items()})
    assert not torch.equal(order, metacleaner.grouped_order(y, 4, seeded(2)))
