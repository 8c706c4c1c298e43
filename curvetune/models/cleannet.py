"""CleanNet's network: codes of a sample and of a class, and the losses of their similarity.

Source: Lee et al., "CleanNet: Transfer Learning for Scalable Image Classifier Training with Label
Noise", CVPR 2018; layers, activations and constants as in the authors' repository
kuanghuei/clean-net (model.py, losses.py). Its dropout is left out: the published rate is 0.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn

MARGIN = 0.1  # similarity above which a label counts as right


class CleanNet(nn.Module):
    """Encoders of a sample and of a class's references into codes of one width.

    Args:
        width: D, of the features, which are log(1 + x) of the classifier's.
        query: first layer of the sample's encoder; the class's encoder has twice it, then it.
        code: width of both codes.
    """

    def __init__(self, width: int, query: int, code: int, generator: torch.Generator) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):  # PyTorch's own initial values draw from it
            self.encoder = _tanh_layers(width, query, code)
            self.decoder = _tanh_layers(code, query, width)
            self.reference = _tanh_layers(width, 2 * query, query)
            self.attention = _tanh_layers(query, query)
            self.summary = _tanh_layers(query, code)
        self.context = nn.Parameter(torch.empty(query, 1))
        for parameter in self.parameters():
            if parameter.dim() == 2:
                nn.init.xavier_uniform_(parameter, generator=generator)
            else:
                nn.init.zeros_(parameter)

    def forward(self, seen: Tensor) -> tuple[Tensor, Tensor]:
        """Return codes, (B, code), and reconstructions, (B, D), of features, (B, D)."""
        codes = self.encoder(seen)
        return codes, self.decoder(codes)

    def classes(self, references: Tensor) -> Tensor:
        """Return codes, (K, code), of reference features, (K, R, D)."""
        hidden = self.reference(references)
        shares = (self.attention(hidden) @ self.context).softmax(dim=1)
        codes: Tensor = self.summary((shares * hidden).sum(dim=1))
        return codes


def _tanh_layers(*widths: int) -> nn.Sequential:
    layers = [nn.Linear(a, b) for a, b in pairwise(widths)]
    return nn.Sequential(*(part for layer in layers for part in (layer, nn.Tanh())))


def verified_loss(similarity: Tensor, right: Tensor, negative_weight: float) -> Tensor:
    """Return v (1 − s) + ω (1 − v) max(0, s − 0.1), (B,), of similarities and flags v, (B,)."""
    wrong = (similarity - MARGIN).clamp(min=0)
    return right * (1 - similarity) + negative_weight * (1 - right) * wrong


def unverified_loss(similarity: Tensor, negative_weight: float) -> Tensor:
    """Return the loss, (B,), with the flags that the similarities themselves, (B,), suggest."""
    return verified_loss(similarity, (similarity >= MARGIN).float(), negative_weight)
