"""Class imbalance and label noise: which samples to keep, and which labels to change."""

from curvetune.bias.imbalance import long_tail_counts
from curvetune.bias.noise import corrupt, noise_matrix

__all__ = ["corrupt", "long_tail_counts", "noise_matrix"]
