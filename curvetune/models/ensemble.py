"""Several classifiers as one."""

import torch
from torch import Tensor, nn


class Ensemble(nn.Module):
    """Classifiers of the same classes; its logits are the mean of theirs."""

    def __init__(self, *networks: nn.Module) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits, (B, K), of images, (B, C, H, W)."""
        return torch.stack([network(x) for network in self.networks]).mean(dim=0)
