"""The mathematics of the methods that start from a pre-training stage; HAR is in test_har.py."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from toy import (
    NUM_CLASSES,
    NUM_SAMPLES,
    batches,
    labels,
    new_model,
    pretrained,
    toy,
    toy_batch,
    toy_parts,
)

from curvetune import methods
from curvetune.config import (
    CellConfig,
    GLCConfig,
    HARConfig,
    LCCNConfig,
    SAdaptationConfig,
)
from curvetune.methods.cross_entropy import cross_entropy
from curvetune.methods.glc import num_gold
from curvetune.methods.lccn import Counts, draw_classes
from curvetune.methods.s_adaptation import NoiseLayer
from curvetune.methods.shared.objective import LossMethod
from curvetune.methods.shared.transition import (
    first_estimate,
    given_loss,
    log_joint,
    transition,
    trust,
)

SHIFTED = torch.eye(NUM_CLASSES).roll(1, dims=1)  # what is k is called k + 1
ROWS = torch.tensor([[0.7, 0.2, 0.1], [0.0, 0.6, 0.4], [0.3, 0.0, 0.7]])


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def outputs_one_by_one(model: nn.Module) -> Tensor:
    """Return softmax outputs of the toy set, (N, K), each image alone in eval mode."""
    model.eval()
    with torch.no_grad():
        rows = [model(toy_batch(torch.tensor([i])).x)[0].softmax(0) for i in range(NUM_SAMPLES)]
    return torch.stack(rows)


def same_weights(one: Any, other: Any) -> bool:
    pairs = zip(one.model.parameters(), other.model.parameters(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


# How a true label becomes the given one


@pytest.mark.parametrize("confusion", ["hard", "soft"])
def test_a_confusion_is_what_a_loop_over_the_samples_counts(confusion: str) -> None:
    q, y = random(40, 4).softmax(1), torch.arange(40) % 4
    counts = torch.zeros(4, 4)
    for probabilities, label in zip(q, y, strict=True):
        if confusion == "hard":
            counts[probabilities.argmax(), label] += 1
        else:
            counts[:, label] += probabilities
    found = first_estimate(q, y, confusion)
    torch.testing.assert_close(found, counts / counts.sum(1, keepdim=True))


def test_a_class_that_is_never_predicted_keeps_its_labels() -> None:
    q = torch.tensor([[0.9, 0.1, 0.0], [0.2, 0.8, 0.0]])
    found = first_estimate(q, torch.tensor([0, 2]), "hard")
    assert found.tolist() == [[1, 0, 0], [0, 0, 1], [0, 0, 1]]


def test_the_loss_is_minus_the_log_of_the_mixed_probability() -> None:
    logits, y = 3 * random(20, 3), torch.arange(20) % 3
    found = given_loss(log_joint(logits, ROWS.T[y]))
    expected = [-torch.log((z.softmax(0) @ ROWS)[k]) for z, k in zip(logits, y, strict=True)]
    torch.testing.assert_close(found, torch.stack(expected))


def test_with_identity_it_is_cross_entropy_and_every_label_is_trusted() -> None:
    logits, y = 3 * random(20, 3), torch.arange(20) % 3
    joint = log_joint(logits, torch.eye(3).T[y])
    torch.testing.assert_close(given_loss(joint), F.cross_entropy(logits, y, reduction="none"))
    torch.testing.assert_close(trust(joint, y), torch.ones(20))


def test_a_label_that_seems_impossible_costs_as_much_as_a_hundred_millionth() -> None:
    logits = torch.tensor([[200.0, 0.0, 0.0]], requires_grad=True)
    for columns in (torch.eye(3)[1:2], torch.zeros(1, 3)):
        loss = given_loss(log_joint(logits, columns))
        assert float(loss.detach()) == pytest.approx(18.4207, abs=1e-3)  # -log 1e-8
        (slope,) = torch.autograd.grad(loss.sum(), logits)
        assert torch.equal(slope, torch.zeros_like(slope))


def test_trust_is_bayes_rule() -> None:
    logits, y = random(5, 3), torch.tensor([0, 1, 2, 0, 1])
    q = logits.softmax(1)
    expected = [
        q[i, k] * ROWS[k, k] / sum(q[i, j] * ROWS[j, k] for j in range(3)) for i, k in enumerate(y)
    ]
    torch.testing.assert_close(trust(log_joint(logits, ROWS.T[y]), y), torch.stack(expected))


# S-adaptation


def test_the_noise_layer_starts_as_the_confusion_of_the_pretrained_net() -> None:
    method: Any = toy(("s-adaptation, complex", {"form": "complex"}))
    theta = method._layer.matrix(random(4, 64))
    q = outputs_one_by_one(pretrained())
    for k in range(NUM_CLASSES):
        members = labels()[q.argmax(1) == k]
        expected = torch.bincount(members, minlength=NUM_CLASSES) / len(members)
        if len(members) == 0:  # class 2 has two samples and is not predicted
            expected = torch.eye(NUM_CLASSES)[k]
        torch.testing.assert_close(theta[2, k], expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("width", [0, 5])
def test_the_rows_of_the_noise_layer_are_a_softmax_of_scores(width: int) -> None:
    layer, seen, y = NoiseLayer(ROWS, width), random(6, 5), torch.tensor([0, 1, 2, 0, 1, 2])
    if layer.slope is not None:
        nn.init.normal_(layer.slope, generator=torch.Generator().manual_seed(1))
    columns = layer(seen, y)
    for i in range(6):
        for k in range(3):
            scores = layer.bias[k]
            if layer.slope is not None:
                scores = scores + torch.stack([layer.slope[k, j] @ seen[i] for j in range(3)])
            torch.testing.assert_close(columns[i, k], scores.softmax(0)[y[i]])
    sums = layer.matrix(seen).sum(-1)
    torch.testing.assert_close(sums, torch.ones_like(sums))


def test_with_the_right_noise_layer_the_least_risk_is_at_the_clean_posterior() -> None:
    """Five kinds of image, whose clean posteriors and label noise are known."""
    clean, theta = (2 * random(5, 3, seed=3)).double().softmax(1), ROWS.double()
    noisy = clean @ theta  # P(given | x)
    logits = torch.zeros(5, 3, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([logits], max_iter=500, tolerance_grad=1e-12)

    def risk() -> Tensor:
        optimizer.zero_grad()
        losses = [given_loss(log_joint(logits, theta.T[torch.full((5,), y)])) for y in range(3)]
        total = (noisy * torch.stack(losses, dim=1)).sum()
        total.backward()
        return total

    optimizer.step(risk)
    torch.testing.assert_close(logits.softmax(1), clean, rtol=0, atol=1e-4)
    assert not torch.allclose(noisy, clean, atol=0.05)  # what cross entropy would have found


@pytest.mark.parametrize("form", ["simple", "complex"])
def test_the_noise_layer_moves_only_after_its_fixed_share_of_the_epochs(form: str) -> None:
    method: Any = toy(("s-adaptation", {"form": form, "fixed_share": 0.5}))  # of ten epochs
    first = [p.clone() for p in method._layer.parameters()]
    moved = []
    for epoch in (0, 4, 5):
        method.start_epoch(epoch)
        method.step(batches(1)[0], None)
        pairs = zip(first, method._layer.parameters(), strict=True)
        moved.append([not torch.equal(a, b) for a, b in pairs])
    assert not any(moved[0] + moved[1])
    assert all(moved[2])


@pytest.mark.parametrize("section", [SAdaptationConfig, LCCNConfig])
def test_the_classifier_starts_from_the_pretrained_weights_or_fresh(section: Any) -> None:
    for start_from, expected in (("pretrained", pretrained()), ("fresh", new_model())):
        config = section(start_from=start_from)
        method = methods.build(config, toy_parts(config))
        found = method.model.state_dict()
        assert all(torch.equal(v, found[key]) for key, v in expected.state_dict().items())
        assert method.model.training


# LCCN


def test_a_samples_count_moves_and_is_never_lost_or_doubled() -> None:
    method: Any = toy(("lccn", {"fixed_share": 0.1}))
    counts = method._counts
    for epoch, batch in enumerate(batches(6, size=17)):
        method.start_epoch(epoch)
        before = counts.z.clone()
        method.step(batch, None)
        expected = torch.zeros(NUM_CLASSES, NUM_CLASSES, dtype=torch.int64)
        for z, y in zip(counts.z, labels(), strict=True):
            expected[z, y] += 1
        assert torch.equal(counts.table, expected)
        assert int(counts.table.sum()) == NUM_SAMPLES
        rest = torch.ones(NUM_SAMPLES, dtype=torch.bool)
        rest[batch.index] = False
        assert torch.equal(counts.z[rest], before[rest])


def test_the_counts_start_with_what_the_pretrained_net_predicts() -> None:
    method: Any = toy(("lccn", {}))
    q = outputs_one_by_one(pretrained())
    assert torch.equal(method._counts.z, q.argmax(1))
    torch.testing.assert_close(method._counts.matrix, first_estimate(q, labels(), "soft"))


def test_with_identity_the_drawn_label_is_the_given_one_and_the_loss_is_cross_entropy() -> None:
    method: Any = toy(("lccn", {"fixed_share": 1.0, "start_from": "fresh"}))
    method._counts.matrix.copy_(torch.eye(NUM_CLASSES))
    parts = toy_parts(LCCNConfig())
    plain = LossMethod(parts.new_model(0), parts.recipe, cross_entropy)
    for batch in batches(3):
        method.start_epoch(0)
        plain.start_epoch(0)
        found, expected = method.step(batch, None), plain.step(batch, None)
        assert torch.equal(found["loss"], expected["loss"])
        assert torch.equal(method._counts.z[batch.index], batch.y)
    assert same_weights(method, plain)


def test_where_all_labels_are_shifted_by_one_the_drawn_label_is_the_one_before() -> None:
    method: Any = toy(("lccn", {"fixed_share": 1.0}))
    method._counts.matrix.copy_(SHIFTED)
    batch = batches(1)[0]
    metrics = method.step(batch, None)
    assert torch.equal(method._counts.z[batch.index], (batch.y - 1) % NUM_CLASSES)
    assert float(metrics["weight"].max()) < 1e-9


def test_drawn_labels_follow_the_posterior_and_never_are_what_cannot_be() -> None:
    probabilities = torch.tensor([0.5, 0.3, 0.0, 0.2])
    joint = probabilities.clamp(min=1e-30).log() - 7  # what is not normalised
    drawn = draw_classes(joint.expand(40_000, 4), torch.Generator().manual_seed(0))
    shares = torch.bincount(drawn, minlength=4) / 40_000
    torch.testing.assert_close(shares, probabilities, rtol=0, atol=0.01)  # four standard errors
    assert shares[2] == 0


def test_the_matrix_is_read_from_the_counts_now_and_then() -> None:
    z, y = torch.tensor([0, 0, 0, 1]), torch.tensor([0, 0, 1, 1])
    counts = Counts(z, y, torch.eye(2), prior=1.0, every=3)
    assert torch.equal(counts.matrix, torch.eye(2))
    seen = []
    for _ in range(4):
        counts.refresh()
        seen.append(counts.matrix.clone())
        counts.move(torch.tensor([1]), torch.tensor([0]), torch.tensor([1]))
    expected = torch.tensor([[3 / 5, 2 / 5], [1 / 3, 2 / 3]])  # of counts [[2, 1], [0, 1]]
    later = torch.tensor([[2 / 4, 2 / 4], [2 / 4, 2 / 4]])  # of counts [[1, 1], [1, 1]]
    for matrix in seen[:3]:
        torch.testing.assert_close(matrix, expected)
    torch.testing.assert_close(seen[3], later)


def test_a_resumed_run_reads_the_matrix_at_the_same_steps() -> None:
    def counts() -> Counts:
        return Counts(torch.zeros(4).long(), torch.zeros(4).long(), torch.eye(2), prior=1, every=3)

    before, after = counts(), counts()
    before.refresh()
    after.state.load_state_dict(before.state.state_dict())
    fresh = []
    for _ in range(3):
        after.matrix.zero_()
        after.refresh()
        fresh.append(bool(after.matrix.any()))
    assert fresh == [False, False, True]


def test_the_matrix_is_the_first_estimate_until_its_share_of_the_epochs_is_over() -> None:
    method: Any = toy(("lccn", {"fixed_share": 0.2}))
    first, same = method._counts.matrix.clone(), []
    for epoch in (0, 1, 2):
        method.start_epoch(epoch)
        method.step(batches(1)[0], None)
        same.append(torch.equal(method._counts.matrix, first))
    assert same == [True, True, False]


# GLC


def test_the_corruption_is_the_mean_output_over_the_gold_samples_of_a_class() -> None:
    method: Any = toy(("glc", {}))
    q = outputs_one_by_one(pretrained())
    expected = torch.stack([q[labels() == k].mean(0) for k in range(NUM_CLASSES)])
    torch.testing.assert_close(method._matrix, expected)
    torch.testing.assert_close(method._matrix.sum(1), torch.ones(NUM_CLASSES))


def test_a_class_without_gold_samples_is_taken_as_clean() -> None:
    true = torch.tensor([[1.0, 0, 0], [0, 0, 1]])
    given = torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]])
    expected = torch.tensor([[0.5, 0.3, 0.2], [0, 1, 0], [0.1, 0.1, 0.8]])
    torch.testing.assert_close(transition(true, given), expected)


def test_with_identity_a_step_is_cross_entropy_on_the_mixed_batch() -> None:
    method: Any = toy(("glc", {}))
    method._matrix.copy_(torch.eye(NUM_CLASSES))
    method._gold_share = 0.25  # 5 gold samples beside 20
    parts = toy_parts(GLCConfig())
    plain = LossMethod(parts.new_model(0), parts.recipe, cross_entropy)
    for silver, gold in zip(batches(3), batches(6)[3:], strict=True):
        mixed = toy_batch(torch.cat([silver.index, gold.index[:5]]))
        method.start_epoch(0)
        plain.start_epoch(0)
        found, expected = method.step(silver, gold), plain.step(mixed, None)
        torch.testing.assert_close(found["loss"], expected["loss"][:20])
        torch.testing.assert_close(found["gold_loss"], expected["loss"][20:].mean())
    for a, b in zip(method.model.parameters(), plain.model.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_where_all_labels_are_shifted_by_one_glc_learns_the_label_before() -> None:
    method: Any = toy(("glc", {}))
    method._matrix.copy_(SHIFTED)
    batch, model = batches(1)[0], new_model()
    logits = model(torch.cat([batch.x, batch.x]))[:20]
    metrics = method.step(batch, batch)
    expected = F.cross_entropy(logits, (batch.y - 1) % NUM_CLASSES, reduction="none").detach()
    torch.testing.assert_close(metrics["loss"], expected)


@pytest.mark.parametrize(
    ("batch_size", "clean", "noisy", "expected"),
    [(128, 1000, 49_000, 3), (128, 1000, 10_978, 12), (32, 100, 1200, 3), (1, 10, 49_000, 1)],
)
def test_a_batch_holds_gold_and_silver_as_the_two_sets_do(
    batch_size: int, clean: int, noisy: int, expected: int
) -> None:
    assert num_gold(batch_size, clean / noisy) == expected


def test_glc_trains_a_fresh_classifier() -> None:
    method = toy(("glc", {}))
    found = method.model.state_dict()
    assert all(torch.equal(v, found[key]) for key, v in new_model().state_dict().items())


# What they need


def test_methods_that_start_from_the_same_classifier_share_its_training() -> None:
    configs = [SAdaptationConfig(), SAdaptationConfig(form="complex"), LCCNConfig(), GLCConfig()]
    cells = [CellConfig(method=config) for config in configs]
    assert len({cell.probe_id("digest") for cell in cells}) == 1
    assert CellConfig(method=HARConfig()).probe_id("digest") != cells[0].probe_id("digest")
