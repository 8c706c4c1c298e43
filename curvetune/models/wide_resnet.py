"""Wide ResNets for CIFAR: pre-activation blocks of 16 w, 32 w and 64 w channels.

Source: Zagoruyko and Komodakis, "Wide Residual Networks", BMVC 2016; no dropout.
"""

from collections import OrderedDict

import torch.nn.functional as F
from torch import Tensor, nn

STEM = 16


class Block(nn.Module):
    """Batch norm, ReLU and a 3×3 convolution, twice.

    Where the number of channels changes, the shortcut is a 1×1 convolution of what the first
    convolution sees.
    """

    def __init__(self, width_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(width_in)
        self.conv1 = nn.Conv2d(width_in, width, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, padding=1, bias=False)
        self.shortcut = (
            None if width_in == width else nn.Conv2d(width_in, width, 1, stride, bias=False)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, width, H/stride, W/stride)."""
        seen = F.relu(self.bn1(x))
        out: Tensor = self.conv2(F.relu(self.bn2(self.conv1(seen))))
        return out + (x if self.shortcut is None else self.shortcut(seen))


class WideResNet(nn.Module):
    """WRN-(6n + 4)-w, whose `stages` are applied in turn: stem, three layers of blocks, head.

    Args:
        blocks: n, of each layer.
        widening: w.
    """

    def __init__(self, blocks: int, widening: int, num_classes: int, in_channels: int) -> None:
        super().__init__()
        parts: list[tuple[str, nn.Module]] = [
            ("stem", nn.Conv2d(in_channels, STEM, 3, padding=1, bias=False))
        ]
        width_in = STEM
        for k, width in enumerate((16 * widening, 32 * widening, 64 * widening)):
            strides = [1 if k == 0 else 2] + [1] * (blocks - 1)
            widths = [width_in] + [width] * (blocks - 1)
            layer = [Block(w, width, s) for w, s in zip(widths, strides, strict=True)]
            parts.append((f"layer{k + 1}", nn.Sequential(*layer)))
            width_in = width
        head = nn.Sequential(
            nn.BatchNorm2d(width_in),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(width_in, num_classes),
        )
        self.stages = nn.Sequential(OrderedDict([*parts, ("head", head)]))

    def forward(self, x: Tensor) -> Tensor:
        """Return logits, (B, K), of images, (B, C, H, W)."""
        logits: Tensor = self.stages(x)
        return logits
