"""What slow versions of the meta step are made of, on the toy problem in float64."""

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call
from toy import Case, batches, toy, toy_batch

from curvetune.batch import Batch

LR = 0.02  # of the toy problem's first epochs


def double(batch: Batch) -> Batch:
    return batch._replace(x=batch.x.double())


def double_method(case: Case) -> Any:
    """Return a method in float64, where two ways to one number agree closely."""
    method: Any = toy(case)
    for name in ("_learner", "_sampler"):
        part = getattr(method, name, None)
        if part is not None:
            getattr(part, "net", getattr(part, "nets", None)).double()
    method.model.double()
    method.start_epoch(0)
    return method


def batch_and_meta() -> tuple[Batch, Batch]:
    batch, meta = batches(2)
    return double(batch), double(toy_batch(meta.index[:10]))


def losses_at(model: nn.Module, params: dict[str, Tensor], batch: Batch) -> Tensor:
    stats = {name: b.clone() for name, b in model.named_buffers()}
    logits = functional_call(model, {**params, **stats}, (batch.x,))
    return F.cross_entropy(logits, batch.y, reduction="none")


def relative_error(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())
