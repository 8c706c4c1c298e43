"""The mathematics of Dynamic Loss, SOP and cRT against slow versions of each."""

import copy
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from slow_meta import LR, batch_and_meta, double, losses_at, relative_error
from torch import Tensor, nn
from torch.func import functional_call
from toy import (
    NUM_CLASSES,
    NUM_SAMPLES,
    batches,
    labels,
    new_model,
    pretrained,
    toy,
    toy_batch,
)

from curvetune import data
from curvetune.batch import Batch
from curvetune.cell import run_cell
from curvetune.config import (
    AllocateConfig,
    BiasConfig,
    CellConfig,
    CRTConfig,
    DataConfig,
    DynamicLossConfig,
    ModelConfig,
    SAdaptationConfig,
)
from curvetune.config.profiles import apply_profile
from curvetune.grids.activity import epochs_of
from curvetune.grids.cells import Cell
from curvetune.meta import forward
from curvetune.methods.crt import balanced_order, first_of_each
from curvetune.methods.dynamic_loss import draw_class, hierarchical_sample, loss_ranks
from curvetune.methods.shared.dynamic import DynamicNet
from curvetune.methods.sop import sop_losses
from curvetune.models import features, last_layer
from curvetune.planning.price.evidence import phase_of_final
from curvetune.store import CellStore, CurveStore

DIGEST = data.digest("digits")


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)


# --- dynamic-loss: ranks and the meta set ---


def test_ranks_are_places_in_the_own_class_spread_over_the_steps() -> None:
    y = torch.tensor([0, 1, 0, 0, 2, 1, 0, 0, 1, 0])
    losses = torch.rand(10, generator=seeded(0))
    expected = []
    for i in range(10):
        own = [float(losses[j]) for j in range(10) if y[j] == y[i]]
        place = sum(loss < losses[i] for loss in own)
        expected.append(int(place * 100 // (len(own) + 1)))
    assert loss_ranks(losses, y, 4, 100).tolist() == expected


def test_all_ranks_are_below_their_number() -> None:
    y = torch.zeros(1000, dtype=torch.int64)
    found = loss_ranks(torch.arange(1000.0), y, 1, 7)
    assert found.min() == 0
    assert found.max() == 6
    assert torch.equal(found, found.sort().values)


def test_the_meta_set_has_as_many_of_each_class_and_only_the_lowest_of_the_drawn() -> None:
    y = torch.tensor([0] * 30 + [1] * 12 + [3] * 8)  # nothing is called 2
    losses = torch.rand(50, generator=seeded(1))
    found = hierarchical_sample(losses, y, 4, 8, 3, seeded(2))
    order = torch.randperm(50, generator=seeded(2)).tolist()
    expected = []
    for k in (0, 1, 3):
        drawn = [i for i in order if y[i] == k][:8]
        expected += sorted(drawn, key=lambda i: float(losses[i]))[:3]
    assert found.tolist() == expected


def test_an_epoch_ends_with_its_meta_set_and_visits_everything_once() -> None:
    method: Any = toy(("dynamic-loss", {"warm_epochs": 2}))
    assert method.start_epoch(1) is None
    assert not method._in_meta.any()
    order = method.start_epoch(2)
    assert sorted(order.tolist()) == list(range(NUM_SAMPLES))
    assert method._meta.sort().values.tolist() == order[-len(method._meta) :].sort().values.tolist()
    assert labels()[method._meta].bincount().tolist() == [1, 1, 1]  # the rarest class has two
    first = method._meta.clone()
    assert any(not torch.equal(method.start_epoch(k), order) for k in (3, 4))
    assert len(first) == len(method._meta)


def test_the_meta_batch_is_of_the_meta_set_with_its_given_labels() -> None:
    method: Any = toy(("dynamic-loss", {"warm_epochs": 2, "meta_batch_size": 50}))
    method.start_epoch(2)
    meta = method._draw_meta()
    assert set(meta.index.tolist()) <= set(method._meta.tolist())
    assert len(meta.y) == 50
    expected = toy_batch(meta.index)
    assert torch.equal(meta.y, expected.y)
    torch.testing.assert_close(meta.x, expected.x)


def test_classes_are_drawn_as_often_as_the_softmax_says() -> None:
    logits = torch.tensor([1.0, -0.5, 0.2, -3.0]).expand(40_000, 4)
    found = draw_class(logits, seeded(3))
    assert set(found.flatten().tolist()) == {0.0, 1.0}
    assert torch.equal(found.sum(dim=1), torch.ones(40_000))
    torch.testing.assert_close(found.mean(dim=0), logits[0].softmax(0), atol=0.01, rtol=0)


# --- dynamic-loss: the network and its gradient ---


def dynamic(**options: Any) -> Any:
    """Return the method in float64, after two steps that gave its optimizer some momentum."""
    method: Any = toy(("dynamic-loss", {}))
    config = DynamicLossConfig(**{"warm_epochs": 0, "meta_batch_size": 12, **options})
    method._config = config
    method.start_epoch(0)
    method.model.double()
    method._net.double()
    with torch.no_grad():  # shares that are neither 0 nor 1, and margins that differ
        for p in method._net.parameters():
            p += 0.3 * torch.randn(p.shape, generator=seeded(4), dtype=p.dtype)
        method._net.corrector[-1].bias -= 3.5
    method._ranks.copy_(torch.randint(100, (NUM_SAMPLES,), generator=seeded(5)))
    method._draw_meta = lambda: batch_and_meta()[1]
    for batch in batches(2):
        method.step(double(batch), None)
    return method


@contextmanager
def drawing_again(method: Any) -> Iterator[None]:
    """Let what is drawn in here be drawn again after it."""
    before = method._draws.get_state()
    yield
    method._draws.set_state(before)


def parts(method: Any, batch: Batch, logits: Tensor) -> tuple[Tensor, Tensor]:
    """Return targets and margins as they are in words, with gradient to the network."""
    net = method._net
    table = net.corrector(net.rank_embedding).sigmoid()
    rows, margins = [], []
    guessed = draw_class(logits, method._draws)
    margin = net.margin_layers(net.margin_embedding)[0]
    for k, i in enumerate(batch.index.tolist()):
        label = F.one_hot(batch.y[k], NUM_CLASSES).double()
        if method._in_meta[i]:
            rows.append(label)
            margins.append(margin.detach())
        else:
            w = table[method._ranks[i], batch.y[k]]
            rows.append(w * label + (1 - w) * guessed[k])
            margins.append(margin)
    return torch.stack(rows), torch.stack(margins)


def meta_loss_after_step(method: Any, batch: Batch, meta: Batch) -> Tensor:
    """The meta loss after a virtual step whose graph is kept: autograd, twice."""
    model, params = method.model, dict(method.model.named_parameters())
    stats = {name: b.clone() for name, b in model.named_buffers()}
    logits = functional_call(model, {**params, **stats}, (batch.x,))
    with drawing_again(method):
        target, margins = parts(method, batch, logits.detach())
    loss = -(target * (logits + margins).log_softmax(dim=1)).sum(dim=1).mean()
    slopes = torch.autograd.grad(loss, list(params.values()), create_graph=True)
    ahead = {}
    for (name, p), slope in zip(params.items(), slopes, strict=True):
        step = slope
        if method._config.virtual_step == "optimizer":
            group = method._optimizer.param_groups[0]
            step = slope + group["weight_decay"] * p
            buffer = group["momentum"] * method._optimizer.state[p]["momentum_buffer"] + step
            step = step + group["momentum"] * buffer if group["nesterov"] else buffer
        ahead[name] = p - LR * step
    return losses_at(model, ahead, meta).mean()


def found_gradient(method: Any, batch: Batch, meta: Batch) -> Tensor:
    passed = forward(method.model, batch, update_statistics=False)
    given = F.one_hot(batch.y, NUM_CLASSES).double()
    method._net_optimizer.step = lambda: None  # the network stays as it is
    with drawing_again(method):
        method._learn(passed, given, meta)
    return torch.cat([p.grad.flatten() for p in method._net.parameters()])


@pytest.mark.parametrize("virtual_step", ["optimizer", "sgd"])
def test_the_meta_gradient_is_that_of_a_double_backward(virtual_step: str) -> None:
    method = dynamic(virtual_step=virtual_step)
    batch, meta = batch_and_meta()
    assert 0 < method._in_meta[batch.index].sum() < len(batch.y)
    loss = meta_loss_after_step(method, batch, meta)
    slopes = torch.autograd.grad(loss, list(method._net.parameters()))
    expected = torch.cat([slope.flatten() for slope in slopes])
    assert relative_error(found_gradient(method, batch, meta), expected) < 1e-9


def test_the_meta_gradient_is_a_central_difference() -> None:
    method = dynamic()
    method._in_meta.zero_()  # nothing is held fixed, so that the loss moves with all of the network
    batch, meta = batch_and_meta()
    found = found_gradient(method, batch, meta)
    params = list(method._net.parameters())
    for seed in range(3):
        way = [random(*p.shape, seed=10 * seed + k) for k, p in enumerate(params)]
        ends = []
        for sign in (1, -1):
            _move(params, way, sign * 1e-5)
            ends.append(float(meta_loss_after_step(method, batch, meta).detach()))
            _move(params, way, -sign * 1e-5)
        slope = (ends[0] - ends[1]) / 2e-5
        along = float(found @ torch.cat([d.flatten() for d in way]))
        assert along == pytest.approx(slope, rel=1e-5)


def _move(params: list[Any], way: list[Tensor], length: float) -> None:
    with torch.no_grad():
        for param, direction in zip(params, way, strict=True):
            param += length * direction


def test_corrector_and_margins_learn_nothing_from_the_meta_set_itself() -> None:
    method = dynamic()
    batch, meta = batch_and_meta()
    method._in_meta[batch.index] = True
    assert not found_gradient(method, batch, meta).any()


def test_with_given_labels_and_equal_margins_a_step_is_that_of_cross_entropy() -> None:
    method, plain = dynamic(), toy(("cross-entropy", {}))
    plain.model.double()
    plain.model.load_state_dict(method.model.state_dict())
    plain._optimizer.load_state_dict(copy.deepcopy(method._optimizer.state_dict()))
    plain.start_epoch(0)
    for layers, bias in ((method._net.corrector, 60.0), (method._net.margin_layers, 1.0)):
        nn.init.zeros_(layers[-1].weight)
        nn.init.constant_(layers[-1].bias, bias)
    method._net_optimizer.step = lambda: None
    batch = double(batches(3)[2])
    metrics = method.step(batch, None)
    plain.step(batch, None)
    torch.testing.assert_close(metrics["weight"], torch.ones(20, dtype=torch.float64))
    for found, expected in zip(method.model.parameters(), plain.model.parameters(), strict=True):
        torch.testing.assert_close(found, expected)


def test_the_real_step_has_the_targets_and_margins_of_the_updated_network() -> None:
    method = dynamic()
    params = [p.detach().clone() for p in method.model.parameters()]
    batch = double(batches(3)[2])
    logits = forward(method.model, batch, update_statistics=False).logits
    before = [p.detach().clone() for p in method._net.parameters()]
    seen: list[Tensor] = []
    loss_parts = method._loss_parts
    method._loss_parts = lambda *given: seen.append(method._draws.get_state()) or loss_parts(*given)
    method.step(batch, None)
    method._draws.set_state(seen[1])  # of the real step's draw
    target, margins = parts(method, batch, logits.detach())
    assert not all(torch.equal(p, q) for p, q in zip(before, method._net.parameters(), strict=True))
    twin = new_model().double()
    twin.load_state_dict(method.model.state_dict())
    with torch.no_grad():
        for p, q in zip(twin.parameters(), params, strict=True):
            p.copy_(q)
    logits = twin(batch.x)
    F.cross_entropy(logits + margins.detach(), target.detach()).backward()
    for p, q in zip(twin.parameters(), method.model.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad)


def test_while_it_warms_up_the_corrector_learns_to_keep_given_labels_and_margins_rest() -> None:
    method: Any = toy(("dynamic-loss", {"warm_epochs": 1}))
    method.start_epoch(0)
    margins = method._net.margins().detach().clone()
    batch = batches(1)[0]
    logits = forward(method.model, batch, update_statistics=False).logits
    w = method._net.corrector(method._net.rank_embedding).sigmoid()[
        method._ranks[batch.index], batch.y
    ]
    p = logits.detach().softmax(dim=1)[torch.arange(20), batch.y]
    expected = torch.autograd.grad(
        -(w + (1 - w) * p + 1e-8).log().mean(), list(method._net.corrector.parameters())
    )
    before = method._net.shares(method._ranks[batch.index], batch.y).mean()
    assert "meta_loss" not in method.step(batch, None)
    for slope, param in zip(expected, method._net.corrector.parameters(), strict=True):
        torch.testing.assert_close(param.grad, slope)
    assert method._net.shares(method._ranks[batch.index], batch.y).mean() > before
    assert torch.equal(method._net.margins(), margins)


def test_the_network_starts_with_given_labels_and_margins_near_one() -> None:
    net = DynamicNet(100, 10, 64, seeded(0))
    rank = torch.arange(100).repeat_interleave(10)
    shares = net.shares(rank, torch.arange(10).repeat(100))
    torch.testing.assert_close(shares, torch.full_like(shares, 0.98), atol=0.02, rtol=0)
    assert net.margins().shape == (1, 10)
    torch.testing.assert_close(net.margins(), torch.ones(1, 10), atol=0.5, rtol=0)


def test_shorter_schedules_warm_up_for_as_large_a_share() -> None:
    cell = CellConfig(method=DynamicLossConfig(warm_epochs=30))
    assert apply_profile(cell, "fast").method.model_dump()["warm_epochs"] == 15
    assert apply_profile(cell, "smoke").method.model_dump()["warm_epochs"] == 0


def test_dynamic_loss_runs_without_a_clean_set_and_says_how_where_it_wants_one() -> None:
    none = DataConfig(meta_per_class=0)
    CellConfig(data=none, method=DynamicLossConfig())
    with pytest.raises(ValueError, match=r"method\.meta=hierarchical"):
        CellConfig(data=none, method=DynamicLossConfig(meta="clean"))


# --- sop ---


def test_sops_losses_are_those_of_a_loop_in_words() -> None:
    z, u, v = 2 * random(30, 4), 0.8 * random(30, 1, seed=1), 0.8 * random(30, 4, seed=2)
    y = torch.randint(4, (30,), generator=seeded(3))
    found = sop_losses(z, F.one_hot(y, 4).double(), u, v)
    for i in range(30):
        exps = [math.exp(x) for x in z[i].tolist()]
        q = [x / sum(exps) for x in exps]
        label, said = int(y[i]), q.index(max(q))
        s = [-min(1.0, float(v[i, k]) ** 2) for k in range(4)]
        s[label] = min(1.0, float(u[i]) ** 2)
        moved = [max(q[k] + s[k], 1e-4) for k in range(4)]
        assert float(found.entropy[i]) == pytest.approx(-math.log(moved[label] / sum(moved)))
        distance = sum(((k == said) + s[k] - (k == label)) ** 2 for k in range(4))
        assert float(found.distance[i]) == pytest.approx(distance)


def test_each_variable_of_sop_follows_its_own_loss() -> None:
    z, u, v = (x.requires_grad_() for x in (random(8, 4), random(8, 1), random(8, 4, seed=1)))
    given = F.one_hot(torch.arange(8) % 4, 4).double()
    losses = sop_losses(z, given, 0.3 * u, 0.3 * v)
    for_z, for_u, for_v = torch.autograd.grad(
        losses.entropy.sum(), (z, u, v), retain_graph=True, materialize_grads=True
    )
    assert for_z.any()
    assert for_u.any()
    assert not for_v.any()
    for_z, for_u, for_v = torch.autograd.grad(
        losses.distance.sum(), (z, u, v), materialize_grads=True
    )
    assert not for_z.any()
    assert for_u.any()
    assert for_v.any()


def test_steps_of_sop_are_those_of_sgd_on_all_variables_at_their_own_rates() -> None:
    method: Any = toy(("sop", {}))
    method.model.double()
    u, v = random(NUM_SAMPLES, 1), random(NUM_SAMPLES, NUM_CLASSES, seed=1)
    u, v = 0.3 * u, 0.3 * v
    method._variables = (u.clone(), v.clone())
    twin = new_model().double()
    twin.load_state_dict(method.model.state_dict())
    network = torch.optim.SGD(
        twin.parameters(), lr=LR, momentum=0.9, nesterov=True, weight_decay=5e-4
    )
    dense = [nn.Parameter(u.clone()), nn.Parameter(v.clone())]
    variables = torch.optim.SGD(
        [{"params": dense[:1], "lr": 1.0}, {"params": dense[1:], "lr": 10.0}]
    )
    method.start_epoch(0)
    for batch in map(double, batches(3)):
        method.step(batch, None)
        losses = sop_losses(
            twin(batch.x),
            F.one_hot(batch.y, NUM_CLASSES).double(),
            *(part[batch.index] for part in dense),
        )
        for optimizer in (network, variables):
            optimizer.zero_grad()
        (losses.entropy.mean() + losses.distance.mean()).backward()
        for optimizer in (network, variables):
            optimizer.step()
    for found, expected in zip(method._variables, dense, strict=True):
        torch.testing.assert_close(found, expected.detach())
    for p, q in zip(method.model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(p, q)


class Sure(nn.Module):
    """Says one class, whatever it sees and learns."""

    def __init__(self, says: int) -> None:
        super().__init__()
        self.says = says
        self.nothing = nn.Parameter(torch.zeros(NUM_CLASSES))

    def forward(self, x: Tensor) -> Tensor:
        said = 6.0 * F.one_hot(torch.full((len(x),), self.says), NUM_CLASSES)
        return said + 0 * self.nothing


def test_the_variables_of_sop_take_up_labels_that_the_classifier_contradicts() -> None:
    method: Any = toy(("sop", {}))
    method.model = Sure(says=1)
    for _ in range(60):
        metrics = method.step(toy_batch(torch.arange(20)), None)  # labels 0 and 1 in turn
    u, v = (values**2 for values in method._variables)
    assert (u[0:20:2] > 0.8).all()
    assert (v[0:20:2, 1] > 0.8).all()
    assert (u[1:20:2] < 1e-6).all()
    assert (v[1:20:2] < 1e-6).all()
    assert (metrics["weight"][0::2] < 0.2).all()
    assert (metrics["weight"][1::2] > 0.99).all()
    assert (u[20:] < 1e-12).all()  # what no batch had


# --- crt ---


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
