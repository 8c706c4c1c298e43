"""CMW-Net: Meta-Weight-Net with one output for each group of classes of similar size.

Classes are grouped once, by k-means of their sizes; a sample is weighed by the output of the group
that its given class is in. All else is as in `mw_net_noise`, which it equals with one group.

Source: Shu et al., "CMW-Net: Learning a Class-Aware Sample Weighting Mapping for Robust Deep
Learning", TPAMI 2023 (arXiv 2202.05613), and the authors' repository xjtushujun/CMW-Net.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from curvetune.batch import Batch
from curvetune.config import CMWNetConfig
from curvetune.methods.base import Method, Parts, class_counts
from curvetune.methods.mw_net_noise import MetaWeightNet
from curvetune.methods.shared.reweight import WeightLearner, redraw_linear


def group_by_size(counts: Tensor, groups: int) -> Tensor:
    """Return the group of each class, (K,) int64, from class sizes, (K,); 0 holds the smallest.

    The groups are those of k-means with the least sum of squares, found exactly: on a line every
    group is an interval. Classes of one size stay together, so there may be fewer groups.
    """
    sizes, place, repeats = np.unique(counts.cpu().numpy(), return_inverse=True, return_counts=True)
    cuts = best_cuts(_spread(sizes.astype(np.float64), repeats), min(groups, len(sizes)))
    group = np.searchsorted(cuts, np.arange(len(sizes)), side="right")
    return torch.from_numpy(group[place]).to(counts.device)


def best_cuts(cost: NDArray[np.float64], groups: int) -> list[int]:
    """Return where the second and all later intervals start, to the least total cost.

    Args:
        cost: (n + 1, n + 1), `cost[a, b]` is that of the interval from a to b, b left out.
    """
    total, starts = cost[0], []
    for _ in range(groups - 1):  # total[b]: of the first b values in as many intervals as so far
        candidates = total[:, None] + cost
        starts.append(candidates.argmin(axis=0))
        total = candidates.min(axis=0)
    cuts, end = [], len(cost) - 1
    for start in reversed(starts):
        end = int(start[end])
        cuts.append(end)
    return cuts[::-1]


def _spread(values: NDArray[np.float64], repeats: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the sum of squares about the mean of every interval, ∞ for an empty one."""
    n = len(values)
    cost = np.full((n + 1, n + 1), np.inf)
    for a in range(n):
        for b in range(a + 1, n + 1):
            mean = np.average(values[a:b], weights=repeats[a:b])
            cost[a, b] = (repeats[a:b] * (values[a:b] - mean) ** 2).sum()
    return cost


class GroupNet(nn.Module):
    """loss → FC `hidden` → ReLU → FC 1 → sigmoid, the last layer one for each group of classes.

    Args:
        group: (K,) int64, of each class.
    """

    def __init__(self, hidden: int, group: Tensor, groups: int, generator: torch.Generator) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):  # PyTorch's own initial values draw from it
            self.layers = nn.Sequential(nn.Linear(1, hidden), nn.ReLU(), nn.Linear(hidden, groups))
        redraw_linear(self.layers, generator)
        self._group = group

    def forward(self, losses: Tensor, y: Tensor) -> Tensor:
        """Return weights in (0, 1), (B,), of losses, (B,), and given labels, (B,)."""
        outputs = self.layers(losses[:, None])
        return torch.sigmoid(outputs.gather(1, self._group[y][:, None]).squeeze(1))


def build(config: CMWNetConfig, parts: Parts) -> Method:
    """Build the method from its section of the config."""
    group = group_by_size(class_counts(parts.y, parts.num_classes), config.size_groups)
    net = GroupNet(config.hidden, group, config.size_groups, parts.generator).to(parts.y.device)

    def weigh(batch: Batch, losses: Tensor) -> Tensor:
        weights: Tensor = net(losses, batch.y)
        return weights

    learner = WeightLearner(net, weigh, config, virtual_step=config.virtual_step)
    return MetaWeightNet(parts.new_model(0), parts.recipe, learner)
