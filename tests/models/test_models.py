"""The classifiers and CurveNet: sizes, shapes and initial values of the released code."""

import pytest
import torch
import torch.nn.functional as F

from curvetune import models
from curvetune.batch import Batch
from curvetune.meta import weight_gradient


@pytest.mark.parametrize(
    ("name", "size"),
    [("resnet8", 75_290), ("resnet20", 269_722), ("resnet32", 464_154), ("wrn-16-8", 10_961_370)],
)
def test_a_classifier_has_the_parameters_of_its_paper(name: str, size: int) -> None:
    assert sum(p.numel() for p in models.build(name, 10).parameters()) == size


def test_the_frozen_stages_of_resnet32_hold_as_many_parameters_as_the_released_code_freezes() -> (
    None
):
    stages = models.build("resnet32", 10).stages
    frozen = [sum(p.numel() for p in stages[:k].parameters()) for k in (1, 2, 3)]
    assert frozen == [464, 23_824, 112_016]


@pytest.mark.parametrize("name", models.MODELS)
@pytest.mark.parametrize(("channels", "pixels"), [(3, 32), (1, 8)])
def test_a_classifier_is_its_stages_in_turn(name: str, channels: int, pixels: int) -> None:
    model = models.build(name, 7, channels).eval()
    x = torch.randn(2, channels, pixels, pixels)
    out = x
    for stage in model.stages:
        out = stage(out)
    assert out.shape == (2, 7)
    assert torch.equal(model(x), out)


def test_the_shortcut_takes_every_second_pixel_and_pads_channels_with_zeros() -> None:
    block = models.build("resnet8", 10).stages[2][0].eval()
    torch.nn.init.zeros_(block.bn2.weight)
    torch.nn.init.zeros_(block.bn2.bias)
    x = torch.randn(2, 16, 8, 8)
    expected = torch.zeros(2, 32, 4, 4)
    expected[:, 8:24] = F.relu(x[:, :, ::2, ::2])
    assert torch.equal(block(x), expected)


def test_the_initial_values_come_from_the_given_generator_alone() -> None:
    state = torch.get_rng_state()
    one, two, other = (
        models.build("resnet8", 10, generator=torch.Generator().manual_seed(s)) for s in (5, 5, 6)
    )
    assert torch.equal(torch.get_rng_state(), state)
    pairs = list(zip(one.parameters(), two.parameters(), strict=True))
    assert all(torch.equal(a, b) for a, b in pairs)
    assert any(
        not torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True)
    )


def test_the_released_initialisation_is_narrow_and_he_initialisation_is_not() -> None:
    narrow, he = (
        models.build("resnet32", 10, init=init, generator=torch.Generator().manual_seed(0))
        for init in ("normal", "kaiming")
    )
    layer = narrow.stages[1][0]
    assert float(layer.conv1.weight.detach().std()) == pytest.approx(0.02, rel=0.1)
    assert float(layer.bn1.weight.detach().mean()) == pytest.approx(1.0, abs=0.02)
    assert float(he.stages[1][0].conv1.weight.detach().std()) == pytest.approx(
        (2 / 144) ** 0.5, rel=0.1
    )


def test_an_unknown_model_is_refused_with_the_names_that_exist() -> None:
    with pytest.raises(ValueError, match="resnet8, resnet20, resnet32"):
        models.build("resnet50", 10)


@pytest.mark.parametrize(
    ("classes", "size"), [(10, 79_809), (100, 85_569), (14, 80_065), (101, 85_633)]
)
def test_curvenet_has_the_parameters_of_the_released_code(classes: int, size: int) -> None:
    assert sum(p.numel() for p in models.CurveNet(294, classes).parameters()) == size


def test_curvenet_starts_with_weights_of_one() -> None:
    net = models.CurveNet(294, 10, generator=torch.Generator().manual_seed(0))
    torch.nn.init.zeros_(net.embedding.weight)
    weights = net(torch.zeros(10, 294), torch.arange(10))
    assert weights.shape == (10,)
    assert ((weights > 1.0085) & (weights < 1.0095)).all()


def test_curvenets_weights_stay_between_the_floor_and_one_above_it() -> None:
    net = models.CurveNet(20, 10, generator=torch.Generator().manual_seed(0))
    weights = net(1e4 * torch.randn(500, 20), torch.randint(10, (500,))).detach()
    assert float(weights.min()) >= 0.02 - 1e-6
    assert float(weights.max()) <= 1.02 + 1e-6


def test_curvenet_of_the_papers_text_has_two_layers_after_the_sum_and_no_floor() -> None:
    some = torch.Generator().manual_seed(0)  # of which the weights reach both ends
    net = models.CurveNet(
        20, 3, head_layers=2, floor=0.0, last_bias=0.0, embedding_scale=1.0, generator=some
    )
    assert [layer.out_features for layer in net.head] == [128, 1]
    weights = net(1e4 * torch.randn(500, 20, generator=some), torch.arange(500) % 3).detach()
    assert float(weights.min()) < 0.01
    assert float(weights.max()) <= 1.0


def test_the_class_embedding_is_added_as_often_as_asked() -> None:
    once, twice = (
        models.CurveNet(4, 3, embedding_scale=scale, generator=torch.Generator().manual_seed(0))
        for scale in (1.0, 2.0)
    )
    with torch.no_grad():
        once.embedding.weight *= 2
    curve, y = torch.randn(3, 4), torch.arange(3)
    torch.testing.assert_close(once(curve, y), twice(curve, y))


def test_half_precision_is_that_of_the_convolutions_alone() -> None:
    full, half = (
        models.build("resnet8", 10, precision=p, generator=torch.Generator().manual_seed(0))
        for p in ("float32", "bfloat16")
    )
    x = torch.randn(16, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    found, expected = half(x), full(x)
    assert found.dtype == torch.float32
    assert {p.dtype for p in half.parameters()} == {torch.float32}
    difference = (found - expected).norm() / expected.norm()
    assert 0 < difference < 0.1
    half.train()
    F.cross_entropy(half(x), torch.arange(16) % 10).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in half.parameters())


@pytest.mark.parametrize("name", ["resnet8", "wrn-16-8"])
def test_the_meta_gradient_in_half_precision_points_the_same_way(name: str) -> None:
    batch, meta = (
        Batch(torch.randn(16, 3, 16, 16, generator=g), torch.arange(16) % 10, torch.arange(16))
        for g in (torch.Generator().manual_seed(k) for k in (1, 2))
    )
    slopes = []
    for precision in ("float32", "bfloat16"):
        generator = torch.Generator().manual_seed(0)
        model = models.build(name, 10, init="kaiming", precision=precision, generator=generator)
        slopes.append(weight_gradient(model, batch, meta, torch.ones(16), 0.01))
    assert F.cosine_similarity(slopes[0], slopes[1], dim=0) > 0.9


def test_where_onednn_has_no_bfloat16_steps_are_those_under_autocast(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.backends.mkldnn, "enabled", False)  # a global switch of PyTorch
    x = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    found = []
    for precision in ("bfloat16-onednn", "bfloat16"):
        generator = torch.Generator().manual_seed(0)
        model = models.build("resnet8", 10, precision=precision, generator=generator)
        found.append(model(x))
    assert torch.equal(*found)


def test_an_unknown_precision_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(ValueError, match="float32, bfloat16, bfloat16-onednn"):
        models.build("resnet8", 10, precision="float16")
