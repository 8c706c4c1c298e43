"""The mathematics of LDAM-DRW."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from first_step import after_step, check_params, random_logits, some_labels, step_and_copy
from toy import NUM_CLASSES, batches, labels, toy, toy_parts

from curvetune import methods
from curvetune.config import LDAMDRWConfig
from curvetune.methods.base import class_counts
from curvetune.methods.ldam_drw import CosineLayer, ldam_loss, margins
from curvetune.models import features, last_layer

# CIFAR-10 of imbalance 100; the margins are those of kaidic/LDAM-DRW (losses.py: LDAMLoss).
COUNTS = torch.tensor([4900, 2937, 1760, 1055, 632, 379, 227, 136, 81, 49])
GOLDEN_MARGINS = [
    *[0.1581, 0.1797, 0.2042, 0.2321, 0.2638],
    *[0.2998, 0.3408, 0.3874, 0.4410, 0.5000],
]


def test_margins_are_the_published_ones() -> None:
    found = margins(COUNTS.float(), 0.5)
    torch.testing.assert_close(found, torch.tensor(GOLDEN_MARGINS), rtol=0, atol=1e-4)
    assert float(found[-1]) == 0.5


def test_a_class_without_samples_does_not_take_the_largest_margin() -> None:
    found = margins(torch.tensor([16.0, 0.0, 1.0]), 0.5)
    assert found.tolist() == [0.25, 0.0, 0.5]


def test_cosine_logits_see_only_directions() -> None:
    layer = CosineLayer(5, 3, torch.Generator().manual_seed(0))
    torch.testing.assert_close(layer.weight.norm(dim=0), torch.ones(3))
    assert [name for name, _ in layer.named_parameters()] == ["weight"]
    seen = random_logits(8, 5).float()
    expected = torch.stack(
        [F.cosine_similarity(seen, layer.weight[:, k][None], dim=1) for k in range(3)], dim=1
    )
    torch.testing.assert_close(layer(seen), expected)
    with torch.no_grad():
        layer.weight *= torch.tensor([0.1, 3.0, 7.0])
    torch.testing.assert_close(layer(9 * seen), expected)
    assert torch.isfinite(layer(torch.zeros(1, 5))).all()


def test_ldam_without_margin_and_scale_is_cross_entropy_on_cosines() -> None:
    generator = torch.Generator().manual_seed(1)
    seen, weight = (F.normalize(torch.randn(n, 5, generator=generator)) for n in (12, 4))
    cosines, y = seen @ weight.T, some_labels()
    found = ldam_loss(cosines, y, class_margins=torch.zeros(4), scale=1.0)
    torch.testing.assert_close(found, F.cross_entropy(cosines, y, reduction="none"))


def test_ldam_takes_the_margin_from_the_given_class_alone() -> None:
    cosines, y = random_logits().tanh(), some_labels()
    class_margins = [0.1, 0.2, 0.3, 0.5]
    expected = []
    for row, label in zip(cosines.tolist(), y.tolist(), strict=True):
        scores = [30 * (z - class_margins[k] * (k == label)) for k, z in enumerate(row)]
        expected.append(math.log(sum(math.exp(s) for s in scores)) - scores[label])
    found = ldam_loss(
        cosines, y, class_margins=torch.tensor(class_margins, dtype=torch.float64), scale=30.0
    )
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))


def test_ldams_tested_logits_are_the_cosines() -> None:
    model = toy(("ldam-drw", {})).model
    layer = last_layer(model)
    assert isinstance(layer, CosineLayer)
    model.eval()
    with torch.no_grad():
        x = batches(1)[0].x
        expected = F.normalize(features(model, x), dim=1) @ layer.weight
        torch.testing.assert_close(model(x), expected)


@pytest.mark.parametrize("epoch", [0, 1, 2, 3])
@pytest.mark.parametrize("drw", [True, False])
def test_class_weights_start_at_the_drop_and_the_mean_divides_by_them(
    epoch: int, drw: bool
) -> None:
    method, before, batch = step_and_copy(("ldam-drw", {"drw": drw, "drw_beta": 0.99}), epoch)
    counts = class_counts(labels(), NUM_CLASSES)
    m = 0.5 * (counts / counts.min()) ** -0.25
    weights = (1 - 0.99) / (1 - 0.99**counts)
    logits = 30 * (before(batch.x) - m * F.one_hot(batch.y, NUM_CLASSES))
    loss = F.cross_entropy(logits, batch.y, weight=weights if drw and epoch >= 2 else None)
    assert len(batch.y.unique()) == NUM_CLASSES  # without the rare class, little would change
    check_params(method.model, after_step(before, loss, 0.02 if epoch < 2 else 0.002))


def test_no_drop_means_no_deferred_weights() -> None:
    parts = toy_parts(LDAMDRWConfig(), epochs=10)
    late: Any = methods.build(LDAMDRWConfig(), replace(parts, first_drop=parts.recipe.epochs))
    plain = toy(("ldam-drw", {"drw": False}))
    for method in (late, plain):
        method.start_epoch(parts.recipe.epochs - 1)
        method.step(batches(1)[0], None)
    check_params(late.model, list(plain.model.parameters()))
