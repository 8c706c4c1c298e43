"""Every method takes its steps on a network that runs in 16 bits."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from toy import CASES, METHOD_OF, NUM_CLASSES, Case, batches, pretrained, section, toy, toy_parts

from curvetune import methods, models
from curvetune.methods import Method
from curvetune.models.sixteen import has_bfloat16

FIRST = {METHOD_OF[title]: (title, options) for title, options in reversed(CASES)}
FROZEN = next(case for case in CASES if case[0] == "curvenet, three stages frozen")
PICKED = [*FIRST.values(), FROZEN]


def half(weights: nn.Module, precision: str) -> nn.Module:
    model = models.build("resnet8", NUM_CLASSES, 1, precision=precision)
    model.load_state_dict(weights.state_dict())
    return model


def in_16_bits(case: Case, precision: str) -> Method:
    config = section(case)
    parts = toy_parts(config)
    return methods.build(
        config,
        replace(
            parts,
            new_model=lambda k: half(parts.new_model(k), precision),
            pretrained=lambda: half(pretrained(), precision),
        ),
    )


ONEDNN = pytest.param(
    "bfloat16-onednn",
    marks=pytest.mark.skipif(not has_bfloat16(), reason="oneDNN has no bfloat16 here"),
)


@pytest.mark.parametrize("precision", ["bfloat16", ONEDNN])
@pytest.mark.parametrize("case", PICKED, ids=[title for title, _ in PICKED])
def test_two_steps_in_16_bits_are_those_in_32_but_for_rounding(case: Case, precision: str) -> None:
    losses = []
    for method in (in_16_bits(case, precision), toy(case)):
        method.start_epoch(0)
        for batch, meta in zip(batches(2), batches(2, size=12), strict=True):
            loss = method.step(batch, meta)["loss"]
        losses.append(loss.mean())
    torch.testing.assert_close(*losses, rtol=0.1, atol=0.02)
