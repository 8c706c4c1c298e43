"""The mathematics of mw-net-imb, L2RW and CMW-Net against slow versions of each."""

from itertools import product
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from slow_meta import LR, batch_and_meta, double_method, losses_at, relative_error
from torch import Tensor
from toy import NUM_CLASSES, batches, labels, tensors, toy, toy_batch

from curvetune.batch import Batch
from curvetune.meta import forward
from curvetune.methods.cmw_net import GroupNet, group_by_size
from curvetune.methods.l2rw import agreement, clipped_share
from curvetune.methods.mw_net_imb import coefficients, normalise
from curvetune.methods.mw_net_noise import LossNet

# --- mw-net-imb ---


def imb_gradient(method: Any, batch: Batch, meta: Batch, *, detached: bool) -> Tensor:
    """The gradient of the weight net as the repository has it: autograd, twice."""
    model, net = method.model, method._learner.net
    params = dict(model.named_parameters())
    losses = losses_at(model, params, batch)
    v = net(losses.detach() if detached else losses)
    slopes = torch.autograd.grad(
        (v / v.sum() * losses).sum(), list(params.values()), create_graph=True
    )
    ahead = {name: p - LR * g for (name, p), g in zip(params.items(), slopes, strict=True)}
    slopes = torch.autograd.grad(losses_at(model, ahead, meta).mean(), list(net.parameters()))
    return torch.cat([g.flatten() for g in slopes])


def test_mw_net_imbs_gradient_goes_through_the_weights_and_the_losses_they_see() -> None:
    method = double_method(("mw-net-imb", {}))
    batch, meta = batch_and_meta()
    expected = imb_gradient(method, batch, meta, detached=False)
    one_path = imb_gradient(method, batch, meta, detached=True)
    method.step(batch, meta)
    found = torch.cat([p.grad.flatten() for p in method._learner.net.parameters()])
    assert relative_error(found, expected) < 1e-9
    assert relative_error(one_path, expected) > 0.01  # so the second path is worth a test


def test_the_coefficients_are_the_slopes_of_the_weighted_sum() -> None:
    net = LossNet(20, torch.Generator().manual_seed(3)).double()
    losses = 3 * torch.rand(7, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    def objective(losses: Tensor) -> Tensor:
        v = net(losses)
        return (v / v.sum() * losses).sum()

    found = coefficients(lambda x: normalise(net(x)), losses).detach() / 7
    for k in range(7):
        nudge = torch.zeros(7, dtype=torch.float64)
        nudge[k] = 1e-6
        with torch.no_grad():
            slope = (objective(losses + nudge) - objective(losses - nudge)) / 2e-6
        torch.testing.assert_close(found[k], slope, rtol=1e-6, atol=1e-9)


def test_constant_weights_have_constant_coefficients() -> None:
    losses = torch.rand(6)
    found = coefficients(lambda x: normalise(0 * x + 0.3), losses)
    torch.testing.assert_close(found, torch.ones(6))


def test_normalised_weights_sum_to_the_batch_and_zeros_stay_zeros() -> None:
    torch.testing.assert_close(
        normalise(torch.tensor([0.1, 0.3, 0.4])), torch.tensor([0.375, 1.125, 1.5])
    )
    assert normalise(torch.tensor([0.2])).tolist() == [1.0]
    assert normalise(torch.zeros(3)).tolist() == [0, 0, 0]


def test_mw_net_imb_steps_the_classifier_on_normalised_weights_of_the_new_net() -> None:
    method, twin = double_method(("mw-net-imb", {})), double_method(("mw-net-imb", {}))
    batch, meta = batch_and_meta()
    weights = method.step(batch, meta)["weight"]
    losses = F.cross_entropy(twin.model(batch.x), batch.y, reduction="none")
    v = method._learner.net(losses).detach()
    torch.testing.assert_close(weights, 20 * v / v.sum())

    (v / v.sum() * losses).sum().backward()
    twin._optimizer.step()
    for found, expected in zip(method.model.parameters(), twin.model.parameters(), strict=True):
        torch.testing.assert_close(found, expected)


def test_mw_net_imbs_weight_net_follows_nesterovs_sgd_at_its_published_rates() -> None:
    method = double_method(("mw-net-imb", {}))
    before = [p.detach().clone() for p in method._learner.net.parameters()]
    method.step(*batch_and_meta())
    for p, old in zip(method._learner.net.parameters(), before, strict=True):
        step = 1.9 * (p.grad + 5e-4 * old)  # the first of Nesterov's, momentum 0.9
        torch.testing.assert_close(p.detach(), old - 1e-5 * step, rtol=0, atol=1e-15)


# --- L2RW ---


def test_agreement_is_the_inner_product_of_explicit_gradients() -> None:
    model = double_method(("l2rw", {})).model
    batch, meta = batch_and_meta()
    passed = forward(model, batch)
    found, meta_loss = agreement(passed, meta)

    params = dict(model.named_parameters())
    loss = losses_at(model, params, meta).mean()
    clean = torch.autograd.grad(loss, list(params.values()))
    expected = []
    for one in losses_at(model, params, batch):
        slopes = torch.autograd.grad(one, list(params.values()), retain_graph=True)
        expected.append(sum((a * b).sum() for a, b in zip(slopes, clean, strict=True)))
    assert relative_error(found, torch.stack(expected)) < 1e-9
    torch.testing.assert_close(meta_loss, loss.detach())


def test_l2rws_weights_are_those_of_a_virtual_step_from_zero() -> None:
    """Algorithm 1 done the slow way: ε = 0, a virtual step, autograd twice, clip, normalise."""
    method = double_method(("l2rw", {}))
    batch, meta = batch_and_meta()
    params = dict(method.model.named_parameters())
    epsilon = torch.zeros(20, dtype=torch.float64, requires_grad=True)
    loss = (epsilon * losses_at(method.model, params, batch)).sum()
    slopes = torch.autograd.grad(loss, list(params.values()), create_graph=True)
    ahead = {name: p - LR * g for (name, p), g in zip(params.items(), slopes, strict=True)}
    meta_loss = losses_at(method.model, ahead, meta).mean()
    positive = (-torch.autograd.grad(meta_loss, epsilon)[0]).clamp(min=0)

    found = method.step(batch, meta)["weight"] / 20
    assert 0 < int((positive == 0).sum()) < 20  # some are clipped, some are not
    assert relative_error(found, positive / positive.sum()) < 1e-9


@pytest.mark.parametrize("scale", [1.0, 1e-30, 1e30])
def test_clipped_weights_sum_to_one(scale: float) -> None:
    found = clipped_share(scale * torch.tensor([2.0, -1.0, 1.0, 0.0]))
    torch.testing.assert_close(found, torch.tensor([2 / 3, 0, 1 / 3, 0]))


def test_a_batch_without_agreement_has_no_weight_and_moves_nothing() -> None:
    assert clipped_share(torch.tensor([-1.0, 0.0, -3.0])).tolist() == [0, 0, 0]
    method: Any = toy(("l2rw", {}))
    method.start_epoch(0)
    meta = toy_batch(torch.tensor([0, 2, 4]))
    against = toy_batch(torch.tensor([0, 2, 4]))._replace(y=torch.ones(3, dtype=torch.int64))
    for group in method._optimizer.param_groups:
        group["weight_decay"] = 0.0
    before = [p.detach().clone() for p in method.model.parameters()]
    assert method.step(against, meta)["weight"].tolist() == [0, 0, 0]
    assert all(torch.equal(a, b) for a, b in zip(before, method.model.parameters(), strict=True))


def test_the_meta_batch_leaves_the_running_statistics_alone() -> None:
    method: Any = toy(("l2rw", {}))
    twin: Any = toy(("l2rw", {}))
    method.start_epoch(0)
    batch, meta = batches(2)
    method.step(batch, meta)
    twin.model(batch.x)
    for found, expected in zip(method.model.buffers(), twin.model.buffers(), strict=True):
        assert torch.equal(found, expected)


# --- CMW-Net ---


def squares(counts: list[int], group: tuple[int, ...]) -> float:
    """Return the sum of squares about the mean of each group."""
    total = 0.0
    for g in set(group):
        values = torch.tensor([c for c, k in zip(counts, group, strict=True) if k == g]).double()
        total += float(((values - values.mean()) ** 2).sum())
    return total


@pytest.mark.parametrize("groups", [1, 2, 3])
def test_classes_are_grouped_as_the_best_of_all_partitions(groups: int) -> None:
    generator = torch.Generator().manual_seed(groups)
    for _ in range(5):
        counts = torch.randint(1, 30, (7,), generator=generator)
        found = group_by_size(counts, groups).tolist()
        best = min(squares(counts.tolist(), g) for g in product(range(groups), repeat=7))
        assert squares(counts.tolist(), tuple(found)) == pytest.approx(best)


def test_the_long_tail_of_cifar10_has_a_head_a_middle_and_a_tail() -> None:
    counts = torch.tensor([4900, 3512, 2518, 1805, 1294, 927, 665, 476, 341, 245])  # IF 20
    assert group_by_size(counts.float(), 3).tolist() == [2, 2, 1, 1, 0, 0, 0, 0, 0, 0]


def test_classes_of_one_size_stay_together() -> None:
    assert group_by_size(torch.tensor([5.0, 9.0, 5.0, 9.0]), 3).tolist() == [0, 1, 0, 1]
    assert group_by_size(torch.full((10,), 490.0), 3).tolist() == [0] * 10
    assert group_by_size(torch.tensor([0.0, 100.0, 101.0]), 2).tolist() == [0, 1, 1]


def test_a_group_has_an_output_of_its_own_on_shared_features() -> None:
    net = GroupNet(8, torch.tensor([1, 0, 1]), 2, torch.Generator().manual_seed(0))
    losses, y = torch.rand(6), torch.tensor([0, 1, 2, 0, 1, 2])
    before = net(losses, y)
    with torch.no_grad():
        net.layers[2].weight[0] += 1  # of the group of class 1
    changed = net(losses, y) != before
    assert changed.tolist() == [False, True, False, False, True, False]
    assert ((before > 0) & (before < 1)).all()


def test_classes_of_one_group_are_weighed_alike_and_of_two_apart() -> None:
    net = GroupNet(8, torch.tensor([1, 0, 1]), 2, torch.Generator().manual_seed(0))
    first, second, third = net(torch.full((3,), 0.7), torch.arange(3)).tolist()
    assert first == third != second


def test_with_one_group_it_is_meta_weight_net() -> None:
    one, other = toy(("cmw-net", {"size_groups": 1})), toy(("mw-net-noise", {}))
    for batch in batches(3):
        for method in (one, other):
            method.start_epoch(0)
            method.step(batch, batch)
    pairs = zip(tensors(one.state.state_dict()), tensors(other.state.state_dict()), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_groups_come_from_the_given_labels() -> None:
    method: Any = toy(("cmw-net", {}))
    sizes = torch.bincount(labels(), minlength=NUM_CLASSES)
    assert method._learner.net._group.tolist() == group_by_size(sizes, 3).tolist() == [1, 1, 0]
