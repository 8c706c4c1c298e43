"""The network of MentorNet DD, and how it learns from a clean set what a wrong label looks like.

(loss, loss − threshold) → LSTM of one unit in both directions; with a label embedding (2) and an
embedding of the training's percentage (5, never trained) → FC 20 → tanh → FC 1 → sigmoid.

Source: Jiang et al., "MentorNet", ICML 2018, section 3; sizes, the label that is always 0 and the
cell states as features are those of the authors' repository google/mentornet (code/utils.py).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from curvetune.batch import Batch
from curvetune.data.sets.image_set import ImageSet
from curvetune.meta.forward import sample_losses

HIDDEN = 20
PERCENTAGES = 100
VIEWS = 8  # augmented views of each clean image: 8,000 of CIFAR's, where the release dumps 7,000
BATCH = 32
DECAY, NUM_DECAYS = 0.9, 30  # of Adam's learning rate; the release: after 1,000 of 30,000 steps
LARGEST_GRADIENT = 5.0


class Mentor(nn.Module):
    """Weights of samples from their losses; see the module.

    Args:
        generator: source of the initial values.
    """

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):  # PyTorch's own initial values draw from it
            self.lstm = nn.LSTM(1, 1, bidirectional=True, batch_first=True)
            self.label = nn.Embedding(2, 2)
            self.percentage = nn.Embedding(PERCENTAGES, 5)
            self.hidden = nn.Linear(2 + 5 + 2, HIDDEN)
            self.last = nn.Linear(HIDDEN, 1)
        self.percentage.weight.requires_grad_(False)
        self._initialise(generator)

    def forward(self, losses: Tensor, excess: Tensor, percentage: int) -> Tensor:
        """Return logits of the weights, (B,).

        Args:
            losses: (B,); excess: (B,), by how much each is over the threshold.
            percentage: of the training that is done, 0 to 99.
        """
        steps = torch.stack([losses, excess], dim=1)[..., None]
        _, (_, cells) = self.lstm(steps)
        constant = torch.cat([self.label.weight[0], self.percentage.weight[percentage]])
        known = constant.expand(len(losses), -1)
        features = torch.cat([known, cells[0], cells[1]], dim=1)
        logits: Tensor = self.last(torch.tanh(self.hidden(features))).squeeze(1)
        return logits

    def _initialise(self, generator: torch.Generator) -> None:
        """Draw TensorFlow's defaults, and N(0, 1) for the linear layers, as released."""
        for name, values in self.named_parameters():
            if name.startswith(("hidden", "last")):
                nn.init.normal_(values, generator=generator)
            elif values.dim() == 2:
                nn.init.xavier_uniform_(values, generator=generator)
            else:
                nn.init.zeros_(values)


def corrupted(y: Tensor, rate: float, num_classes: int, generator: torch.Generator) -> Tensor:
    """Return labels, (n,), of which each is another class with probability `rate`, all as likely.

    Args:
        y: (n,) true labels.
        generator: on their device.
    """
    shift = torch.randint(1, num_classes, y.shape, generator=generator, device=y.device)
    wrong = torch.rand(y.shape, generator=generator, device=y.device) < rate
    return torch.where(wrong, (y + shift) % num_classes, y)


def lessons(
    model: nn.Module,
    clean: ImageSet,
    *,
    batch_size: int,
    noise: float,
    num_classes: int,
    draws: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Return losses of clean images under labels made wrong, and whether each is right, both (n,).

    As in a training step: augmented, with batch statistics. The model and its buffers stay as they
    are.
    """
    params = dict(model.named_parameters())
    losses, right = [], []
    with torch.no_grad():
        for _ in range(VIEWS):
            for batch in clean.ordered(batch_size):
                y = corrupted(batch.y, noise, num_classes, draws)
                view = Batch(clean.view(batch.index, draws), y, batch.index)
                losses.append(sample_losses(model, params, view))
                right.append((y == batch.y).float())
    return torch.cat(losses), torch.cat(right)


def teach(
    mentor: Mentor,
    losses: Tensor,
    right: Tensor,
    threshold: Tensor,
    percentage: int,
    *,
    steps: int,
    lr: float,
    draws: torch.Generator,
) -> Tensor:
    """Train the mentor to say which labels are right; return the last step's loss, 0-d.

    Args:
        losses: (n,); right: (n,), 1 or 0; threshold: 0-d.
    """
    optimizer = torch.optim.Adam(mentor.parameters(), lr=lr)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, max(1, steps // NUM_DECAYS), DECAY)
    loss = torch.zeros(())
    for _ in range(steps):
        chosen = torch.randint(len(losses), (BATCH,), generator=draws, device=losses.device)
        some = losses[chosen]
        logits = mentor(some, some - threshold, percentage)
        loss = F.binary_cross_entropy_with_logits(logits, right[chosen])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(mentor.parameters(), LARGEST_GRADIENT)
        optimizer.step()
        schedule.step()
    return loss.detach()
