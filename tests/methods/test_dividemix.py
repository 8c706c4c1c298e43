"""DivideMix against its paper's equations, in NumPy and float64; MixUp and ensembles."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch
import torch.nn.functional as F
from sklearn.mixture import GaussianMixture
from toy import NUM_CLASSES, NUM_SAMPLES, batches, labels, new_model, toy_parts, toy_set
from two_networks import (
    assert_parameters,
    copies,
    descended,
    draws_of,
    log_softmax,
    probabilities,
    rand,
    softmax,
)

from curvetune import methods
from curvetune.config import AllocateConfig, CellConfig, DivideMixConfig, ELRPlusConfig
from curvetune.config.profiles import native_recipe
from curvetune.methods.dividemix import (
    Looked,
    divide,
    negative_entropy,
    new_labels,
    semi_supervised_loss,
    sharpen,
)
from curvetune.methods.shared.mixup import Mixing, MixUp, beta_quantiles, mix
from curvetune.models import Ensemble

# What both share


@pytest.mark.parametrize("alpha", [0.5, 1.0, 1.5, 4.0])
def test_shares_are_quantiles_of_the_beta_distribution(alpha: float) -> None:
    at = (np.arange(1000) + 0.5) / 1000
    expected = scipy.stats.beta.ppf(at, alpha, alpha)
    np.testing.assert_allclose(
        beta_quantiles(alpha, 1000).numpy(), expected, atol=1e-4 if alpha >= 1 else 1e-3
    )


def test_a_sample_has_the_larger_share_of_its_mix_and_the_share_varies() -> None:
    mixup = MixUp(1.0, torch.Generator().manual_seed(0))
    own = torch.stack([mixup.draw(3).own for _ in range(2000)])
    assert own.min() >= 0.5
    assert float(own.mean()) == pytest.approx(0.75, abs=0.01)  # of max(l, 1 − l), l uniform
    values = rand(4, 2, 3)
    mixed = mix(values, Mixing(torch.tensor(0.7), torch.tensor([1, 0, 3, 2])))
    np.testing.assert_allclose(
        mixed.numpy(), 0.7 * values.numpy() + 0.3 * values.numpy()[[1, 0, 3, 2]], rtol=1e-6
    )


def test_an_ensemble_ranks_as_the_sum_of_the_logits_and_its_state_has_both_networks() -> None:
    one, other = new_model(0), new_model(1)
    both, (batch,) = Ensemble(one, other), batches(1)
    both.eval()
    assert not one.training
    total = (one(batch.x) + other(batch.x)).detach()
    torch.testing.assert_close(both(batch.x).detach(), total / 2)
    again = Ensemble(new_model(2), new_model(3)).eval()
    again.load_state_dict(both.state_dict())
    assert torch.equal(again(batch.x), both(batch.x))


# DivideMix


def test_losses_are_divided_as_scikit_learn_does_with_the_released_settings() -> None:
    draw = np.random.default_rng(0)
    losses = np.concatenate([draw.gamma(2, 0.1, 300), draw.normal(2.5, 0.6, 200).clip(0)])
    scaled = (losses - losses.min()) / (losses.max() - losses.min())
    mixture = GaussianMixture(2, max_iter=10, tol=1e-2, reg_covar=5e-4, random_state=0)
    mixture.fit(scaled[:, None])
    expected = mixture.predict_proba(scaled[:, None])[:, mixture.means_.argmin()]
    clean, labelled = divide(torch.tensor(losses), 0.5, 1)
    np.testing.assert_allclose(clean.numpy(), expected, atol=1e-6)
    assert np.array_equal(labelled.numpy(), expected > 0.5)
    assert labelled.float().mean() == pytest.approx(0.6, abs=0.05)


def test_the_lowest_losses_keep_their_labels_whatever_the_mixture_says() -> None:
    losses = rand(50)
    _, labelled = divide(losses, 1.0, 8)
    assert sorted(labelled.nonzero().flatten().tolist()) == sorted(losses.argsort()[:8].tolist())
    for same in (torch.zeros(50), torch.full((50,), 3.0)):
        clean, labelled = divide(same, 0.5, 8)
        assert torch.isfinite(clean).all()
        assert labelled.sum() >= 8
    assert divide(torch.tensor([0.3]), 0.5, 8)[1].all()  # a set of one sample


def test_labels_are_refined_or_guessed_as_in_algorithm_1() -> None:
    y, labelled = torch.tensor([0, 2, 1, 2]), torch.tensor([True, False, True, False])
    given, clean = F.one_hot(y, 3).double(), rand(4)
    own, other = (
        Looked(probabilities(4, 3, seed=s), probabilities(4, 3, seed=s + 1), y) for s in (1, 3)
    )
    found = new_labels(given, clean, labelled, own, other, 0.5)
    for i in range(4):
        if labelled[i]:
            w = float(clean[i])
            mean = w * given[i].numpy() + (1 - w) * own.training[i].numpy()
        else:
            mean = (own.training[i].numpy() + other.evaluating[i].numpy()) / 2
        np.testing.assert_allclose(found[i].numpy(), mean**2 / (mean**2).sum(), rtol=1e-10)
    torch.testing.assert_close(sharpen(given, 0.5), given)


def test_the_loss_is_that_of_the_papers_equations_9_to_12() -> None:
    z, t = 3 * rand(6, 4), probabilities(6, 4, seed=1)
    labelled = torch.tensor([True, True, False, True, False, True])
    p, target, mask = softmax(z), t.numpy(), labelled.numpy()
    supervised = -(target * log_softmax(z)).sum(axis=1)[mask].mean()
    guessed = ((p - target) ** 2)[~mask].mean()
    penalty = sum(0.25 * np.log(0.25 / p[:, k].mean()) for k in range(4))
    found = semi_supervised_loss(z, t, labelled, torch.tensor(25.0))
    assert float(found) == pytest.approx(supervised + 25 * guessed + penalty, rel=1e-10)


def test_a_batch_without_one_of_the_parts_has_the_loss_of_the_other() -> None:
    z, t = rand(5, 3), probabilities(5, 3, seed=1)
    all_of_them = torch.ones(5, dtype=torch.bool)
    weights = torch.tensor(0.0), torch.tensor(9.0)
    kept = [float(semi_supervised_loss(z, t, all_of_them, w)) for w in weights]
    assert kept[0] == kept[1]
    none = [float(semi_supervised_loss(z, t, ~all_of_them, w)) for w in weights]
    square = ((softmax(z) - t.numpy()) ** 2).mean()
    assert none[1] - none[0] == pytest.approx(9 * square)


def test_the_penalty_of_the_warm_up_is_the_negative_entropy() -> None:
    z = 2 * rand(7, 4)
    expected = (softmax(z) * log_softmax(z)).sum(axis=1).mean()
    assert float(negative_entropy(z)) == pytest.approx(expected)


def dividemix(**options: Any) -> Any:
    config = DivideMixConfig(**options)
    return methods.build(config, toy_parts(config))


def test_a_step_trains_each_network_on_the_division_of_the_other() -> None:
    """Against both steps written out: four looks, mixed views, SGD by hand."""
    method, (batch,) = dividemix(divide_start=0.5, ramp_share=1.0), batches(1)
    method.start_epoch(0)
    method.start_epoch(2)  # of a ramp of two epochs from epoch 1 on, one is past
    state, networks, same = method.state.state_dict(), copies(method.model), draws_of(method)
    assert float(state["gain"]) == 12.5
    state["clean"].copy_(torch.stack([rand(NUM_SAMPLES, seed=s) for s in (5, 6)]))
    state["labelled"].copy_(state["clean"] > 0.4)
    clean, labelled = state["clean"].clone(), state["labelled"].clone()
    second = toy_set().view(batch.index, same)
    mixup = MixUp(4.0, same)
    training, late = [], []
    with torch.no_grad():
        for network in networks:
            network.eval()
            late.append((network(batch.x).softmax(1) + network(second).softmax(1)) / 2)
            network.train()
            training.append((network(batch.x).softmax(1) + network(second).softmax(1)) / 2)
    given, views = F.one_hot(batch.y, NUM_CLASSES).float(), torch.cat([batch.x, second])
    expected = []
    for k in (0, 1):
        w, has = clean[1 - k, batch.index][:, None], labelled[1 - k, batch.index][:, None]
        mean = torch.where(has, w * given + (1 - w) * training[k], (training[k] + late[1 - k]) / 2)
        targets = (mean**2 / (mean**2).sum(1, keepdim=True)).repeat(2, 1)
        own, other = mixup.draw(len(views))
        logits = networks[k](own * views + (1 - own) * views[other])
        mixed = own * targets + (1 - own) * targets[other]
        p, has = logits.softmax(1), has.flatten().repeat(2)
        loss = -(mixed * logits.log_softmax(1)).sum(1)[has].mean()
        loss = loss + 12.5 * ((p - mixed) ** 2)[~has].mean()
        loss = loss - (p.mean(0) * NUM_CLASSES).log().mean()
        expected.append(descended(networks[k], loss, lr=0.002))  # the rate dropped at epoch 2
    metrics = method.step(batch, None)
    for network, parameters in zip(method.model.networks, expected, strict=True):
        assert_parameters(network, parameters)
    weight = (clean * labelled)[:, batch.index].mean(0)
    torch.testing.assert_close(metrics["weight"], weight)


def test_both_networks_learn_the_given_labels_before_samples_are_divided() -> None:
    method, (batch,) = dividemix(divide_start=1.0, confidence_penalty=True), batches(1)
    method.start_epoch(1)
    networks, same = copies(method.model), draws_of(method)
    views = batch.x, toy_set().view(batch.index, same)
    expected = []
    for network, x in zip(networks, views, strict=True):
        z = network(x)
        loss = F.cross_entropy(z, batch.y) + (z.softmax(1) * z.log_softmax(1)).sum(1).mean()
        expected.append(descended(network, loss, lr=0.02))
    assert (method.step(batch, None)["weight"] == 1).all()
    for network, parameters in zip(method.model.networks, expected, strict=True):
        assert_parameters(network, parameters)


def test_an_untrained_network_never_divides_and_epochs_before_the_drop_are_shared_out() -> None:
    def phases(epochs: int, **options: Any) -> list[bool]:
        config = DivideMixConfig(**options)
        method: Any = methods.build(config, replace(toy_parts(config), first_drop=4))
        found = []
        for epoch in range(epochs):
            method.start_epoch(epoch)
            found.append(method.phase)
        return found

    assert phases(4) == [False, True, True, True]
    assert phases(4, divide_start=0.5) == [False, False, True, True]
    assert phases(2, divide_start=0.0) == [False, True]


def test_wrong_labels_are_found_and_both_networks_together_are_tested() -> None:
    y = labels()
    wrong = torch.zeros(NUM_SAMPLES, dtype=torch.bool)
    wrong[[3, 8, 15, 20, 31, 44]] = True
    given = torch.where(wrong, 1 - y, y)
    config = DivideMixConfig(divide_start=0.25)
    parts = replace(toy_parts(config), y=given, first_drop=4)
    method: Any = methods.build(config, parts)
    for epoch in range(9):
        method.start_epoch(epoch)
        for batch in batches(6):
            metrics = method.step(batch._replace(y=given[batch.index]), None)
    method.start_epoch(9)
    clean = method.state.state_dict()["clean"].mean(0)
    assert clean[~wrong].mean() - clean[wrong].mean() > 0.5
    assert metrics["weight"].shape == (20,)
    assert isinstance(method.model, Ensemble)


def test_native_recipes_are_those_of_the_repositories() -> None:
    cells = [
        native_recipe(CellConfig(method=section(recipe="native")))
        for section in (DivideMixConfig, ELRPlusConfig)
    ]
    assert [cell.allocate.lr for cell in cells] == [0.02, 0.02]
    assert [cell.allocate.milestones for cell in cells] == [(150,), (150,)]
    assert [(c.allocate.epochs, c.allocate.batch_size) for c in cells] == [(300, 64), (200, 128)]
    divided: Any = cells[0].method
    assert round(divided.divide_start * 150) == 10
    assert divided.ramp_share * 150 == pytest.approx(16)


def test_a_measured_cell_of_few_epochs_divides_in_the_second_one() -> None:
    config = DivideMixConfig().for_two_epochs(2)
    for recipe in (AllocateConfig(milestones=(2,)), AllocateConfig(epochs=2, milestones=())):
        method: Any = methods.build(
            config, replace(toy_parts(config), first_drop=recipe.first_drop)
        )
        method.start_epoch(1)
        assert method.phase is True
