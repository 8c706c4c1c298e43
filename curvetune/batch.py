"""The unit that data sources yield and methods consume, and the legend of shape letters.

    B  samples of a batch             N  samples of the training set
    K  classes                        T  epochs of a loss curve
    C×H×W  an image                   S  losses removed from the start of a curve
    P  width of CurveNet's embedding  M  images of the meta set

`y` is the given (possibly wrong) label, `y_true` the hidden one.
"""

from typing import NamedTuple

from torch import Tensor


class Batch(NamedTuple):
    """Some samples, on the device, ready for the model."""

    x: Tensor  # (B, C, H, W) float32, normalised, augmented for training
    y: Tensor  # (B,) int64, given labels
    # (B,) int64, positions in the set that the batch was drawn from; it hides tuple.index
    index: Tensor  # type: ignore[assignment]
