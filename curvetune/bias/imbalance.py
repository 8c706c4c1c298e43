"""How many samples of each class a long-tailed training set keeps.

Source: Cui et al., "Class-Balanced Loss", CVPR 2019 (long-tailed CIFAR); CurveNet-V1 and MW-Net
use the same profile. A class can come out at 0 here: data/limits.py refuses that, and keeps a class
of one sample.
"""


def long_tail_counts(largest: int, num_classes: int, imbalance: float) -> list[int]:
    """Return how many samples to keep of each class, (K,), most frequent first.

    Class k keeps `largest * (1 / imbalance) ** (k / (num_classes - 1))`, cut (not rounded) to a
    whole number. To divide by `imbalance ** (k / (num_classes - 1))` instead gives the same counts;
    to take powers of the (num_classes - 1)th root does not, since it loses a sample here and there
    (tests/bias/test_bias.py).

    Args:
        imbalance: largest class over smallest class, at least 1; 1 is balanced.

    Raises:
        ValueError: a number is out of its range.
    """
    if largest < 1:
        raise ValueError(f"largest must be at least 1 sample, got {largest}")
    if num_classes < 2:
        raise ValueError(f"num_classes must be at least 2, got {num_classes}")
    if not imbalance >= 1:
        raise ValueError(
            f"imbalance must be at least 1 (largest class over smallest), got {imbalance}"
        )
    tail = 1 / imbalance
    return [int(largest * tail ** (k / (num_classes - 1.0))) for k in range(num_classes)]
