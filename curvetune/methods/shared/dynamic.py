"""The network of Dynamic Loss, and how the meta loss changes with what it puts into the loss.

A corrector gives each pair of a rank and a class the share of the given label; margins are added
to the logits of each class. With logits z, margins m and targets t, the gradient of a sample's
cross entropy in z is g = softmax(z + m) − t. So the meta loss after the virtual step changes with
what is in g as −(lr c / B) Σ ⟨ż_i, g_i⟩ does, ż being the logits' derivative along the meta loss's
gradient: one forward-mode pass instead of a double backward.

Source: Jiang et al., "Dynamic Loss for Robust Learning", TPAMI 2023 (arXiv 2211.12506), as in the
authors' repository jiangwenj02/dynamic_loss (mmcls/models/meta_net/dynamic_loss.py).
"""

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from curvetune.batch import Batch
from curvetune.meta import Forward, look_ahead

GIVEN_BIAS = 3.98  # first shares of the given label: 0.98
MARGIN_BIAS = 1.0


class DynamicNet(nn.Module):
    """Embedding `hidden` → FC `hidden` → ReLU → FC `hidden` → ReLU → FC K, twice.

    The corrector has an embedding for each rank, and a sigmoid; the margins have one of their own.
    """

    def __init__(
        self, ranks: int, num_classes: int, hidden: int, generator: torch.Generator
    ) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):  # PyTorch's own initial values draw from it
            self.corrector = _layers(hidden, num_classes)
            self.margin_layers = _layers(hidden, num_classes)
        self.rank_embedding = nn.Parameter(torch.empty(ranks, hidden))
        self.margin_embedding = nn.Parameter(torch.empty(1, hidden))
        _draw(self.rank_embedding, self.corrector, GIVEN_BIAS, generator)
        _draw(self.margin_embedding, self.margin_layers, MARGIN_BIAS, generator)

    def shares(self, rank: Tensor, y: Tensor) -> Tensor:
        """Return the share of the given label in (0, 1), (B,), of ranks and labels, (B,)."""
        table = torch.sigmoid(self.corrector(self.rank_embedding))
        picked: Tensor = table[rank, y]
        return picked

    def margins(self) -> Tensor:
        """Return what is added to the logits of each class, (1, K)."""
        margins: Tensor = self.margin_layers(self.margin_embedding)
        return margins


def _layers(hidden: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(hidden, hidden),
        nn.ReLU(),
        nn.Linear(hidden, hidden),
        nn.ReLU(),
        nn.Linear(hidden, outputs),
    )


def _draw(
    embedding: Tensor, layers: nn.Sequential, last_bias: float, generator: torch.Generator
) -> None:
    """Draw initial values: Glorot's, and biases of 0 but for the last layer's."""
    nn.init.xavier_uniform_(embedding, generator=generator)
    for layer in layers:
        if isinstance(layer, nn.Linear):
            nn.init.xavier_normal_(layer.weight, generator=generator)
            nn.init.zeros_(layer.bias)
    last = layers[-1]
    assert isinstance(last, nn.Linear)
    nn.init.constant_(last.bias, last_bias)


def logit_gradient(logits: Tensor, margins: Tensor, target: Tensor) -> Tensor:
    """Return the gradient in the logits of cross entropy with margins, (B, K).

    Args:
        logits: (B, K).
        margins: (1, K), or (B, K) if they differ.
        target: (B, K), rows summing to 1.
    """
    return (logits + margins).softmax(dim=1) - target


def descended(
    passed: Forward,
    gradient: Tensor,
    meta: Batch,
    lr: float | Tensor,
    optimizer: Optimizer | None,
) -> tuple[Tensor, Tensor]:
    """Return a number whose gradient is that of the meta loss, 0-d, and the meta loss, 0-d.

    The virtual step is on the mean of losses whose gradients in the logits are `gradient`; what
    `gradient` depends on gets the gradient of the meta loss after that step.

    Args:
        passed: the classifier's pass over the batch; its graph is kept.
        gradient: (B, K).
        optimizer: the classifier's, whose own step the virtual one is; a plain one if None.
    """
    size = len(gradient)
    slopes = torch.autograd.grad(
        passed.logits,
        list(passed.params.values()),
        gradient.detach() / size,
        retain_graph=True,
    )
    direction, factor, meta_loss = look_ahead(passed, slopes, meta, lr, optimizer)
    moved = passed.logit_tangents(direction)
    return -(lr * factor / size) * (moved * gradient).sum(), meta_loss
