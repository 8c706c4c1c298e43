"""The mathematics of HAR."""

from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from test_pretrained import outputs_one_by_one, random, same_weights
from torch import Tensor, nn
from toy import (
    NUM_CLASSES,
    NUM_EPOCHS,
    NUM_SAMPLES,
    batches,
    labels,
    new_model,
    toy,
    toy_batch,
    toy_parts,
)

from curvetune import methods, models
from curvetune.config import AllocateConfig, CellConfig, HalfConfig, HARConfig
from curvetune.methods.base import effective_number_weights
from curvetune.methods.cross_entropy import cross_entropy
from curvetune.methods.har import (
    block_norms,
    class_errors,
    forward_keeping,
    gradient_norms,
    strengths,
)
from curvetune.methods.shared.objective import LossMethod


def test_har_penalises_thirty_layers_of_a_resnet_32() -> None:
    model = models.build("resnet32", 10)
    norms = block_norms(model)
    assert len(norms) == 30
    logits, outputs = forward_keeping(model, random(2, 3, 32, 32), norms)
    assert logits.shape == (2, 10)
    widths = [16] * 10 + [32] * 10 + [64] * 10
    assert [y.shape[1] for y in outputs] == widths
    assert not any(norm._forward_hooks for norm in norms)


def test_har_without_its_penalty_is_cross_entropy() -> None:
    method: Any = toy(("har", {"reg_weight": 0.0}))
    parts = toy_parts(HARConfig())
    plain = LossMethod(parts.new_model(0), parts.recipe, cross_entropy)
    penalised: Any = toy(("har", {"reg_weight": 1.0}))
    for batch in batches(3):
        for m in (method, plain, penalised):
            m.start_epoch(0)
            m.step(batch, None)
    pairs = list(zip(method.model.parameters(), plain.model.parameters(), strict=True))
    assert all(torch.allclose(a, b, rtol=1e-5, atol=1e-7) for a, b in pairs)
    assert not same_weights(penalised, plain)


def test_the_strength_grows_with_error_and_rarity_and_is_at_most_1() -> None:
    errors, counts = torch.tensor([0.1, 0.5, 0.9]), torch.tensor([1000.0, 1000, 50])
    found = strengths(errors, counts)
    raw = [0.1**0.6 / 1000**0.4, 0.5**0.6 / 1000**0.4, 0.9**0.6 / 50**0.4]
    torch.testing.assert_close(found, torch.tensor(raw) / max(raw))
    assert float(found.max()) == 1
    assert strengths(torch.tensor([1.0, 0.5]), torch.tensor([0.0, 9])).tolist() == [0, 1]
    assert strengths(torch.zeros(2), torch.ones(2)).tolist() == [0, 0]


def test_errors_are_of_held_out_samples_and_their_given_labels() -> None:
    predicted, y = torch.tensor([0, 1, 0, 1, 1, 1]), torch.tensor([0, 0, 0, 0, 1, 2])
    held_out = torch.tensor([True, True, True, False, True, False])
    found = class_errors(predicted, y, held_out, 3)  # class 2 has no held-out sample
    torch.testing.assert_close(found, torch.tensor([1 / 3, 0, 1]))


def test_har_holds_out_what_its_probe_did_not_see() -> None:
    config = HARConfig()
    parts = toy_parts(config)
    curves = torch.ones(NUM_SAMPLES, NUM_EPOCHS)
    held_out = torch.arange(NUM_SAMPLES) % 3 == 0
    curves[held_out] = torch.nan
    parts = replace(parts, curves=curves, pretrained=lambda: new_model(1))  # often wrong
    method: Any = methods.build(config, parts)
    predicted, y = outputs_one_by_one(new_model(1)).argmax(1), labels()
    errors = []
    for k in range(NUM_CLASSES):
        members = [i for i in range(NUM_SAMPLES) if held_out[i] and y[i] == k]
        right = sum(int(predicted[i] == k) for i in members)
        errors.append(1 - right / len(members) if members else 1.0)
    expected = strengths(torch.tensor(errors), torch.bincount(y).float())
    torch.testing.assert_close(method._strength, expected)


def test_a_samples_part_of_the_penalty_is_that_of_its_class() -> None:
    method: Any = toy(("har", {}))
    method._strength.copy_(torch.tensor([0.0, 0.0, 0.5]))
    batch = toy_batch(torch.tensor([0, 1, 2, NUM_SAMPLES - 1]))  # the last is of class 2
    model = new_model()
    logits, outputs = forward_keeping(model, batch.x, block_norms(model))
    lengths = gradient_norms(F.cross_entropy(logits, batch.y), outputs, block_norms(model))
    found = method.step(batch, None)["penalty"]
    torch.testing.assert_close(found, 0.5 * lengths[3].detach() / 4)


def penalty(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    norms = block_norms(model)
    logits, outputs = forward_keeping(model, x, norms)
    strength = torch.tensor([0.2, 0.5, 1.0], dtype=x.dtype)
    return (strength[y] * gradient_norms(F.cross_entropy(logits, y), outputs, norms)).mean()


def tiny() -> tuple[nn.Module, Tensor, Tensor]:
    """Return a ResNet-8 in float64 with scales away from 1, four images and their labels."""
    model = new_model(3).double()
    for norm in block_norms(model):
        nn.init.uniform_(norm.weight, 0.5, 1.5, generator=torch.Generator().manual_seed(4))
    return model, random(4, 1, 4, 4).double(), torch.tensor([0, 1, 2, 1])


def test_the_norms_are_of_the_slope_at_the_output_before_scale_and_shift() -> None:
    """Finite differences: every number of one layer's output is moved, for one sample."""
    model, x, y = tiny()
    norm, sample = block_norms(model)[-1], 2
    logits, outputs = forward_keeping(model, x, [norm])
    found = gradient_norms(F.cross_entropy(logits, y), outputs, [norm])[sample]
    slopes = []
    for place in range(outputs[0][0].numel()):
        values = []
        for step in (1e-5, -1e-5):
            moved = torch.zeros_like(outputs[0])
            moved[sample].view(-1)[place] = step
            handle = norm.register_forward_hook(
                lambda m, _, out, d=moved: out + m.weight[:, None, None] * d
            )
            with torch.no_grad():
                values.append(F.cross_entropy(model(x), y))
            handle.remove()
        slopes.append((values[0] - values[1]) / 2e-5)
    torch.testing.assert_close(found, torch.stack(slopes).norm(), rtol=1e-6, atol=0)


def test_the_penaltys_gradient_is_that_of_finite_differences() -> None:
    model, x, y = tiny()
    params = list(model.parameters())
    slopes = torch.autograd.grad(penalty(model, x, y), params, allow_unused=True)
    generator = torch.Generator().manual_seed(6)
    for param, slope in zip(params, slopes, strict=True):
        direction = torch.randn(param.shape, generator=generator, dtype=param.dtype)
        values = []
        for step in (1e-6, -2e-6):  # there, and back beyond
            param.data.add_(direction, alpha=step)
            values.append(penalty(model, x, y).detach())
        param.data.add_(direction, alpha=1e-6)
        expected = (values[0] - values[1]) / 2e-6
        found = torch.zeros(()) if slope is None else (slope * direction).sum()
        torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-8)


def test_hars_deferred_reweighting_starts_with_the_first_drop() -> None:
    same = []
    for epoch in (1, 2):
        method: Any = toy(("har", {"drw": True}))
        plain = toy(("har", {}))
        for m in (method, plain):
            m.start_epoch(epoch)
            m.step(batches(1)[0], None)
        same.append(same_weights(method, plain))
    assert same == [True, False]
    weights = effective_number_weights(torch.bincount(labels()), 0.9999)
    losses, y = random(6).abs(), torch.tensor([0, 0, 0, 0, 1, 2])
    expected = (weights[y] * losses).sum() / weights[y].sum()
    torch.testing.assert_close(method._mean(losses, y), expected)


def test_hars_probe_has_the_recipe_of_the_final_training_on_a_half() -> None:
    allocate = AllocateConfig(epochs=7, milestones=(3, 5), gamma=(0.5, 0.2), lr=0.3)
    recipe = CellConfig(method=HARConfig(), allocate=allocate).probe_recipe
    assert isinstance(recipe, HalfConfig)
    assert [recipe.lr_at(e) for e in range(7)] == [allocate.lr_at(e) for e in range(7)]
