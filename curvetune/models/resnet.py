"""ResNets for CIFAR: 6n + 2 layers of 16, 32 and 64 channels with option-A shortcuts.

Source: He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, section 4.2.
"""

from collections import OrderedDict

import torch.nn.functional as F
from torch import Tensor, nn

WIDTHS = (16, 32, 64)


class Block(nn.Module):
    """Two 3×3 convolutions and a shortcut without parameters (option A).

    Where the block halves the image, the shortcut takes every second pixel and pads the new
    channels with zeros, half before and half after.
    """

    def __init__(self, width_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.new_channels = width - width_in
        self.conv1 = nn.Conv2d(width_in, width, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, width, H/stride, W/stride)."""
        out = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(out)) + self._shortcut(x))

    def _shortcut(self, x: Tensor) -> Tensor:
        if self.stride == 1 and self.new_channels == 0:
            return x
        half = self.new_channels // 2
        x = F.avg_pool2d(x, 1, self.stride)  # x[:, :, ::2, ::2], but channels-last on the way back
        return F.pad(x, (0, 0, 0, 0, half, self.new_channels - half))


class ResNet(nn.Module):
    """A classifier whose `stages` are applied in turn: stem, three layers of blocks, head."""

    def __init__(self, blocks: int, num_classes: int, in_channels: int) -> None:
        super().__init__()
        stem = nn.Sequential(
            nn.Conv2d(in_channels, WIDTHS[0], 3, padding=1, bias=False),
            nn.BatchNorm2d(WIDTHS[0]),
            nn.ReLU(),
        )
        head = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(WIDTHS[-1], num_classes)
        )
        parts: list[tuple[str, nn.Module]] = [("stem", stem)]
        width_in = WIDTHS[0]
        for k, width in enumerate(WIDTHS):
            strides = [1 if k == 0 else 2] + [1] * (blocks - 1)
            widths = [width_in] + [width] * (blocks - 1)
            layer = [Block(w, width, s) for w, s in zip(widths, strides, strict=True)]
            parts.append((f"layer{k + 1}", nn.Sequential(*layer)))
            width_in = width
        self.stages = nn.Sequential(OrderedDict([*parts, ("head", head)]))

    def forward(self, x: Tensor) -> Tensor:
        """Return logits, (B, K), of images, (B, C, H, W)."""
        logits: Tensor = self.stages(x)
        return logits
