"""The mathematics of the methods that leave samples out."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError
from torch import Tensor, nn
from toy import NUM_SAMPLES, batches, new_model, toy, toy_parts

from curvetune import data, methods
from curvetune.cell import run_cell
from curvetune.config import (
    AllocateConfig,
    BiasConfig,
    CellConfig,
    CoTeachingConfig,
    DataConfig,
    MethodConfig,
    ModelConfig,
    O2UNetConfig,
    O2UProbeConfig,
    ProbeConfig,
)
from curvetune.config.profiles import apply_profile, native_recipe
from curvetune.methods.co_teaching import forget_rate, num_kept
from curvetune.methods.cross_entropy import cross_entropy
from curvetune.methods.o2u_net import kept, scores
from curvetune.methods.shared.objective import LossMethod
from curvetune.store import CellStore
from curvetune.store.arrays import load_arrays
from curvetune.training.split import load_split

SHORT_PROBE = O2UProbeConfig(epochs=6, cyclic_start=2)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def same(one: nn.Module, other: nn.Module) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def built(config: MethodConfig, **changes: Any) -> Any:
    """Return a method on the toy problem, its parts changed."""
    return methods.build(config, replace(toy_parts(config), **changes))


def plain() -> LossMethod:
    """Return cross entropy on the toy problem."""
    parts = toy_parts(CoTeachingConfig())
    return LossMethod(parts.new_model(0), parts.recipe, cross_entropy)


# Co-teaching


def test_co_teaching_forgets_as_the_released_schedule_does() -> None:
    kept_share = [1 - forget_rate(epoch, 0.4, 10, 1.0) for epoch in range(12)]
    assert [round(share, 4) for share in kept_share[:3]] == [1.0, 0.9556, 0.9111]
    assert kept_share[9:] == pytest.approx([0.6, 0.6, 0.6])
    for gradual, exponent in ((10, 0.5), (5, 2.0), (1, 1.0)):
        table = np.full(20, 0.3)
        table[:gradual] = np.linspace(0, 0.3**exponent, gradual)
        found = [forget_rate(epoch, 0.3, gradual, exponent) for epoch in range(20)]
        np.testing.assert_allclose(found, table, rtol=1e-12)


def test_co_teaching_keeps_the_whole_part_of_the_share_and_never_nothing() -> None:
    assert [num_kept(size, 0.4) for size in (128, 20, 7, 1)] == [76, 12, 4, 1]
    assert num_kept(5, 0.0) == 5


def test_each_network_is_trained_on_what_the_other_finds_easy() -> None:
    """Against a step written out with two backward passes, NumPy's sort and SGD by hand."""
    method: Any = toy(("co-teaching", {"gradual_epochs": 1}))
    batch = batches(1)[0]
    method.start_epoch(1)
    recipe = method._recipe
    models = [new_model(0), new_model(100)]
    losses = [F.cross_entropy(model(batch.x), batch.y, reduction="none") for model in models]
    easy = [np.argsort(values.detach().numpy())[:16].copy() for values in losses]  # 20 · 0.8
    expected = []
    for model, values, chosen in zip(models, losses, reversed(easy), strict=True):
        slopes = torch.autograd.grad(values[torch.from_numpy(chosen)].mean(), model.parameters())
        for param, slope in zip(model.parameters(), slopes, strict=True):
            step = slope + recipe.weight_decay * param.detach()
            step = step * (1 + recipe.momentum)  # the first step of Nesterov's
            expected.append(param.detach() - recipe.lr_at(1) * step)
    metrics = method.step(batch, None)
    found = [*method.model.parameters(), *method._other.parameters()]
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a.detach(), b, rtol=1e-4, atol=1e-6)
    assert set(metrics["weight"].nonzero().squeeze(1).tolist()) == set(easy[1].tolist())
    assert set(easy[0].tolist()) != set(easy[1].tolist())


def test_the_exchange_between_identical_networks_changes_nothing() -> None:
    method = built(CoTeachingConfig(gradual_epochs=1), new_model=lambda k: new_model(3))
    for epoch in (0, 1):
        method.start_epoch(epoch)
        for batch in batches(3):
            weight = method.step(batch, None)["weight"]
            assert same(method.model, method._other)
    assert float(weight.sum()) == 16


def test_co_teaching_without_noise_is_cross_entropy_twice() -> None:
    method = built(CoTeachingConfig(), noise_rate=0.0)
    expected = plain()
    for epoch in (0, 5):
        for m in (method, expected):
            m.start_epoch(epoch)
        for batch in batches(3):
            assert float(method.step(batch, None)["weight"].min()) == 1
            expected.step(batch, None)
    for a, b in zip(method.model.parameters(), expected.model.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)
    assert not same(method.model, method._other)


def test_the_published_recipe_of_co_teaching_is_adam_whose_rate_and_beta1_fall_at_80() -> None:
    cell = native_recipe(CellConfig(method=CoTeachingConfig(recipe="native")))
    assert (cell.allocate.batch_size, cell.allocate.epochs) == (128, 200)
    method = built(cell.method, recipe=cell.allocate, first_drop=cell.allocate.first_drop)
    for epoch, lr, beta1 in (
        (0, 1e-3, 0.9),
        (80, 1e-3, 0.1),
        (140, 5e-4, 0.1),
        (199, 1e-3 / 120, 0.1),
    ):
        method.start_epoch(epoch)
        for optimizer in method._optimizers:
            (group,) = optimizer.param_groups
            assert isinstance(optimizer, torch.optim.Adam)
            assert group["betas"] == (beta1, 0.999)
            assert group["lr"] == pytest.approx(lr)
            assert group["weight_decay"] == 0


# O2U-Net


def test_o2us_learning_rate_falls_twice_and_then_in_cycles() -> None:
    probe = O2UProbeConfig()
    first = [probe.lr_at(epoch) for epoch in (0, 62, 63, 124, 125, 249)]
    assert first == pytest.approx([0.01, 0.01, 0.005, 0.005, 0.001, 0.001])
    cycle = [probe.lr_at(250 + epoch) for epoch in range(1, 12)]  # numbered as in the release
    golden = [0.0082, 0.0073, 0.0064, 0.0055, 0.0046, 0.0037, 0.0028, 0.0019, 0.001, 0.0091, 0.0082]
    assert cycle == pytest.approx(golden)
    assert [probe.batch_size_at(epoch) for epoch in (0, 249, 250, 499)] == [128, 128, 16, 16]
    native = O2UNetConfig.native
    assert native is not None
    assert [native.lr_at(e) for e in range(250)] == pytest.approx(
        [probe.lr_at(e) for e in range(250)]
    )


def test_o2us_score_is_the_sum_of_losses_that_each_epoch_has_centred() -> None:
    curves = random(50, 7)
    expected = np.zeros(50)
    for epoch in range(7):
        losses = curves[:, epoch].double().numpy()
        expected += losses - losses.sum() / 50
    found = scores(curves)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)
    assert float(found.mean()) == pytest.approx(0, abs=1e-6)


def test_o2u_keeps_the_lowest_scores() -> None:
    score = torch.tensor([3.0, -1.0, 2.0, -2.0, 0.0, -1.0, 5.0])
    assert kept(score, 0.4).tolist() == [1, 3, 4, 5]  # int(0.6 · 7)
    assert kept(score, 0.99).tolist() == [3]
    assert kept(score, 0.0).tolist() == list(range(7))


def test_o2u_visits_what_the_cyclic_epochs_found_easy_each_time_in_another_order() -> None:
    curves = torch.zeros(NUM_SAMPLES, 6)
    curves[:40, :2] = 100.0  # hard in the first stage, which does not count
    curves[50:, 2:] = 1.0
    method = built(O2UNetConfig(o2u_probe=SHORT_PROBE), curves=curves, noise_rate=10 / NUM_SAMPLES)
    orders = [method.start_epoch(epoch) for epoch in (0, 1)]
    assert all(sorted(order.tolist()) == list(range(50)) for order in orders)
    assert not torch.equal(*orders)
    assert torch.equal(method.step(batches(1)[0], None)["weight"], torch.ones(20))


def test_o2u_without_noise_is_cross_entropy() -> None:
    method, expected = built(O2UNetConfig(o2u_probe=SHORT_PROBE), noise_rate=0.0), plain()
    for epoch in (0, 5):
        for m in (method, expected):
            assert m.start_epoch(epoch) is None
        for batch in batches(3):
            method.step(batch, None)
            expected.step(batch, None)
    assert same(method.model, expected.model)


def test_o2us_probe_is_its_own_and_decides_the_cells_address() -> None:
    cell = CellConfig(method=O2UNetConfig())
    longer = CellConfig(method=O2UNetConfig(), probe=ProbeConfig(epochs=301))
    other = CellConfig(method=O2UNetConfig(o2u_probe=O2UProbeConfig(cycle=5)))
    assert cell.probe_recipe == O2UProbeConfig()
    assert cell.probe_id("") == longer.probe_id("")
    assert cell.cell_id("") == longer.cell_id("")
    assert cell.probe_id("") != other.probe_id("")
    assert cell.cell_id("") != other.cell_id("")
    with pytest.raises(ValidationError, match="cyclic_start=500"):
        O2UProbeConfig(cyclic_start=500)


@pytest.mark.parametrize(
    ("profile", "expected"), [("fast", (250, 125, 128, 5)), ("smoke", (3, 2, 16, 1))]
)
def test_the_short_profiles_shorten_o2us_own_probe(
    profile: str, expected: tuple[int, int, int, int]
) -> None:
    cell = apply_profile(CellConfig(method=O2UNetConfig()), profile)
    assert isinstance(cell.method, O2UNetConfig)
    probe = cell.method.o2u_probe
    found = probe.epochs, probe.cyclic_start, probe.cyclic_batch_size, probe.cycle
    assert found == expected


def test_what_o2u_leaves_out_of_a_cell_has_the_weight_0(tmp_path: Path) -> None:
    probe = O2UProbeConfig(epochs=3, cyclic_start=2, batch_size=50, cyclic_batch_size=50)
    cell = CellConfig(
        data=DataConfig(name="digits", per_class_limit=20, test_limit=50),
        bias=BiasConfig(noise_rate=0.3),
        model=ModelConfig(name="resnet8"),
        allocate=AllocateConfig(epochs=2, milestones=(1,), warmup=0, batch_size=50),
        method=O2UNetConfig(o2u_probe=probe, noise_rate_estimate=0.25),
    )
    digits, digest = data.load("digits"), data.digest("digits")
    run_cell(cell, digest, digits, tmp_path, device=torch.device("cpu"))
    folder = CellStore(tmp_path).folder(cell.cell_id(digest))
    weight = load_arrays(folder / "samples.safetensors")[0]["weight"]
    assert len(weight) == len(load_split(cell, digest, digits, tmp_path).y) == 200
    assert (weight == 1).sum() == 150
    assert (weight == 0).sum() == 50
