"""O2U-Net: leave out the samples whose loss stays high while the learning rate goes up and down.

A network that was trained on everything goes on under a cyclic learning rate, from overfitting to
underfitting and back; wrong labels have the highest losses over those cycles. Both stages are the
method's probe (config/methods/selection.py). A fresh network is then trained with cross entropy on
the int((1 − noise rate)·N) samples with the lowest score.

Source: Huang et al., "O2U-Net: A Simple Noisy Label Detection Approach for Deep Neural Networks",
ICCV 2019; schedule and score of the authors' repository hjimce/O2U-Net (main.py).
"""

import torch
from torch import Tensor

from curvetune.config import O2UNetConfig
from curvetune.methods.base import Method, Parts
from curvetune.methods.cross_entropy import cross_entropy
from curvetune.methods.shared.objective import LossMethod, Subset


def scores(curves: Tensor) -> Tensor:
    """Return Σ_e (ℓ_ie − mean over samples of ℓ_e), (N,), from losses of cyclic epochs, (N, T)."""
    return (curves - curves.mean(dim=0)).sum(dim=1)


def kept(score: Tensor, noise_rate: float) -> Tensor:
    """Return the sorted indices of the int((1 − noise rate)·N) lowest scores, (N,); at least 1."""
    count = max(1, int((1 - noise_rate) * len(score)))
    return score.argsort(stable=True)[:count].sort().values


def visited(logits: Tensor, y: Tensor) -> Tensor:
    """Return 1 for each sample, (B,): one that is left out keeps the weight 0 (training/fit.py)."""
    return torch.ones_like(y, dtype=logits.dtype)


def build(config: O2UNetConfig, parts: Parts) -> Method:
    """Build the method from its section of the config; with a noise rate of 0 all samples stay."""
    assert parts.curves is not None, "the section says that it needs a probe"
    subset = None
    if parts.noise_rate > 0:
        score = scores(parts.curves[:, config.o2u_probe.cyclic_start :])
        subset = Subset(kept(score, parts.noise_rate), parts.draws)
    return LossMethod(
        parts.new_model(0), parts.recipe, cross_entropy, subset=subset, weight=visited
    )
