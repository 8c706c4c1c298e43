"""Half precision for the classifier alone.

Under bfloat16 the convolutions of every stage but the last run in 16 bits, and everything else in
32: parameters, batch norm's statistics, the last layer, losses, the optimizer, and the networks
that learn weights. The range of bfloat16 is that of float32, so no loss is scaled. It changes the
numbers (docs/measurements.md has by how much), so it is an option and part of a cell's identity.
"""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from curvetune.models.head import stages_of
from curvetune.models.sixteen import Stage


def use_bfloat16(model: nn.Module, *, by_onednn: bool = False) -> None:
    """Let every stage of `model` but the last run in bfloat16.

    Args:
        by_onednn: on a CPU, instead of PyTorch's autocast (curvetune.models.sixteen); for networks
            that are their stages one after another and nothing else.
    """
    *body, head = stages_of(model)
    for stage in body:
        autocast = partial(_in_bfloat16, stage.forward)
        is_last = stage is body[-1]
        stage.forward = (  # hides the forward of its class
            Stage(stage, autocast, is_last=is_last) if by_onednn else autocast
        )
    head.forward = partial(_in_float32, head.forward)


def _in_bfloat16(forward: Any, x: Tensor) -> Tensor:
    # Without the cache of cast weights: a step may run the same stage at other parameters
    # (the virtual step), and a CUDA graph must not keep a cast made outside of it.
    with torch.autocast(x.device.type, torch.bfloat16, cache_enabled=False):
        out: Tensor = forward(x)
    return out


def _in_float32(forward: Any, x: Tensor) -> Tensor:
    is_double = x.dtype == torch.float64  # in a check, where no layer casts
    out: Tensor = forward(x if is_double else x.float())
    return out
