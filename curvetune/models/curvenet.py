"""CurveNet: a weight for a sample from its loss curve and its given class.

Source: Jiang et al., "Delving into Sample Loss Curve to Embrace Noisy and Imbalanced Data",
AAAI 2022, section "CurveNet"; layer sizes, initialisation and the doubled embedding as in the
authors' released code, jiangwenj02/CurveNet-V1 (net/curvenet.py).
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class CurveNet(nn.Module):
    """curve → FC 2P → FC 2P → FC P, plus the class embedding → FC 2P → FC P → FC 1 → weight.

    Args:
        length: losses in a prepared curve.
        embedding_dim: P, the width of the curve's features and of the class embedding.
        embedding_scale: factor of the class embedding; the released code adds it twice.
        head_layers: layers after the sum: 3 as released, 2 as in the paper's text.
        floor: least weight; the weight is sigmoid(a) + floor.
        last_bias: initial bias of the last layer, which sets the initial weight.
        generator: source of the initial values; the global one if None.
    """

    def __init__(
        self,
        length: int,
        num_classes: int,
        *,
        embedding_dim: int = 64,
        embedding_scale: float = 2.0,
        head_layers: int = 3,
        floor: float = 0.02,
        last_bias: float = 4.5,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        wide = 2 * embedding_dim
        self.embedding_scale = embedding_scale
        self.floor = floor
        with torch.random.fork_rng(devices=[]):  # PyTorch's own initial values draw from it
            self.embedding = nn.Embedding(num_classes, embedding_dim)
            self.curve = _layers([length, wide, wide, embedding_dim])
            after = [wide, embedding_dim] if head_layers == 3 else [wide]
            self.head = _layers([embedding_dim, *after, 1])
        self._initialise(last_bias, generator)

    def forward(self, curve: Tensor, y: Tensor) -> Tensor:
        """Return weights, (B,), from prepared curves, (B, length), and given labels, (B,)."""
        features = curve
        for layer in self.curve:
            features = F.relu(layer(features))
        features = features + self.embedding_scale * self.embedding(y)
        for layer in self.head[:-1]:
            features = F.relu(layer(features))
        logit = self.head[-1](features)
        return torch.sigmoid(logit.squeeze(1)) + self.floor

    def _initialise(self, last_bias: float, generator: torch.Generator | None) -> None:
        nn.init.xavier_uniform_(self.embedding.weight, generator=generator)
        for layer in [*self.curve, *self.head]:
            assert isinstance(layer, nn.Linear)
            nn.init.xavier_normal_(layer.weight, generator=generator)
            nn.init.zeros_(layer.bias)
        # The released code leaves the first layer after the sum at PyTorch's default. Its bias is
        # zero here, so that the initial weight is 1.009 for every draw (docs/reproduction.md).
        first = self.head[0]
        assert isinstance(first, nn.Linear)
        nn.init.kaiming_uniform_(first.weight, a=5**0.5, generator=generator)
        last = self.head[-1]
        assert isinstance(last, nn.Linear)
        nn.init.constant_(last.bias, last_bias)


def _layers(widths: list[int]) -> nn.ModuleList:
    return nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))
