"""cRT trains one layer on features that it shares with other methods."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from draws import seeded
from slow_meta import LR
from toy import (
    batches,
    new_model,
    pretrained,
    toy,
)

from curvetune import data
from curvetune.cell import run_cell
from curvetune.config import (
    AllocateConfig,
    BiasConfig,
    CellConfig,
    CRTConfig,
    DataConfig,
    ModelConfig,
    SAdaptationConfig,
)
from curvetune.config.profiles import apply_profile
from curvetune.grids.activity import epochs_of
from curvetune.grids.cells import Cell
from curvetune.methods.crt import balanced_order, first_of_each
from curvetune.models import features, last_layer
from curvetune.planning.price.evidence import phase_of_final
from curvetune.store import CellStore, CurveStore

DIGEST = data.digest("digits")


def test_balanced_draws_have_every_class_as_often_and_its_samples_as_often() -> None:
    y = torch.tensor([0] * 30_000 + [1] * 9_000 + [3] * 3)  # nothing is called 2
    order = balanced_order(y, 4, seeded(0))
    assert len(order) == len(y)
    shares = y[order].bincount(minlength=4) / len(y)
    expected = torch.tensor([1 / 3, 1 / 3, 0, 1 / 3])
    torch.testing.assert_close(shares, expected, atol=0.01, rtol=0)
    rare = order[y[order] == 3].bincount(minlength=len(y))[-3:] / len(y)
    torch.testing.assert_close(rare, torch.full((3,), 1 / 9), atol=0.01, rtol=0)


def test_a_sample_that_is_drawn_twice_has_the_loss_of_its_first_view() -> None:
    index = torch.tensor([7, 3, 7, 7, 0, 3])
    assert first_of_each(index).tolist() == [0, 1, 0, 0, 4, 1]


def test_crt_puts_a_fresh_last_layer_behind_the_features_of_the_probe() -> None:
    method, trained, fresh = toy(("crt", {})), pretrained(), new_model(0)
    for (name, found), old in zip(
        method.model.named_parameters(), trained.parameters(), strict=True
    ):
        is_last = any(found is p for p in last_layer(method.model).parameters())
        expected = fresh.get_parameter(name) if is_last else old
        assert torch.equal(found, expected), name
    assert not method.model.training


def test_crt_is_a_linear_classifier_of_features_that_never_change() -> None:
    method, trained = toy(("crt", {})), pretrained().eval()
    twin = last_layer(new_model(0))
    optimizer = torch.optim.SGD(
        twin.parameters(), lr=LR, momentum=0.9, nesterov=True, weight_decay=5e-4
    )
    method.start_epoch(0)
    for batch in batches(5):
        method.step(batch, None)
        with torch.no_grad():
            seen = features(trained, batch.x)
        optimizer.zero_grad()
        F.cross_entropy(twin(seen), batch.y).backward()
        optimizer.step()
    for found, expected in zip(
        last_layer(method.model).parameters(), twin.parameters(), strict=True
    ):
        torch.testing.assert_close(found, expected)
    last = {id(p) for p in last_layer(method.model).parameters()}
    now = [*method.model.named_parameters(), *method.model.named_buffers()]
    for name, tensor in now:
        if id(tensor) not in last:
            assert torch.equal(tensor, trained.state_dict()[name]), name


def small_cell(method: Any, epochs: int = 4) -> CellConfig:
    return CellConfig(
        data=DataConfig(name="digits", per_class_limit=20, test_limit=100),
        bias=BiasConfig(imbalance=5),
        model=ModelConfig(name="resnet8"),
        allocate=AllocateConfig(epochs=epochs, lr=0.1, milestones=(2,), warmup=1, batch_size=32),
        method=method,
    )


def test_crts_own_epochs_follow_a_cosine_from_the_rate_of_the_features() -> None:
    recipe = small_cell(CRTConfig(retrain_epochs=8), epochs=4).final_recipe
    rates = [recipe.lr_at(epoch) for epoch in range(recipe.epochs)]
    expected = [0.1 * (1 + math.cos(math.pi * epoch / 8)) / 2 for epoch in range(8)]
    assert rates == pytest.approx(expected)
    assert recipe.batch_size == 32
    fast = apply_profile(small_cell(CRTConfig()), "fast")
    assert fast.final_recipe.epochs == 5
    assert fast.allocate.epochs == 2


def test_a_cell_of_crt_trains_the_features_as_a_probe_that_others_share(tmp_path: Path) -> None:
    cell = small_cell(CRTConfig(retrain_epochs=3))
    assert cell.probe_id(DIGEST) == small_cell(SAdaptationConfig()).probe_id(DIGEST)
    run_cell(cell, DIGEST, data.load("digits"), tmp_path, device=torch.device("cpu"))
    rows = CellStore(tmp_path).history(cell.cell_id(DIGEST))
    assert [row["lr"] for row in rows] == pytest.approx([0.1, 0.075, 0.025])
    assert CurveStore(tmp_path).read(cell.probe_id(DIGEST) or "").shape[1] == 4


def test_what_is_told_of_a_cells_epochs_is_its_methods_number() -> None:
    config = small_cell(CRTConfig(retrain_epochs=3))
    cell = Cell("", None, config.model_dump(mode="json"), "", (), "running")  # type: ignore[arg-type]
    assert epochs_of(cell, "probe") == 4
    assert epochs_of(cell, "allocate") == 3
    assert phase_of_final(config, 100)[0].epochs == 3
