"""Loads an exported classifier. It needs PyTorch and safetensors, and Pillow for image files.

from classifier import Classifier
classifier = Classifier()                  # of the folder that this file is in
p = classifier(images)                     # (N, C, H, W) uint8 of size facts["size"] -> (N, K)
p = classifier(classifier.open("cat.jpg"))
"""

import importlib.util
import json
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file


class Classifier:
    """A trained classifier: raw images in, probabilities out."""

    def __init__(self, folder: "str | Path" = Path(__file__).parent, device: str = "cpu") -> None:
        folder = Path(folder)
        self.facts = json.loads((folder / "classifier.json").read_text(encoding="utf-8"))
        (weights,) = folder.glob("*.safetensors")
        self.weights = load_file(weights, device)
        spec = importlib.util.spec_from_file_location("network", folder / "network.py")
        assert spec is not None
        assert spec.loader is not None
        self.network = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(self.network)

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Return the probability of each class, (N, K), of raw images, (N, C, H, W) uint8."""
        with torch.inference_mode():
            logits: torch.Tensor = self.network.forward(self.weights, images)
            return torch.softmax(logits, dim=1)

    def open(self, path: "str | Path") -> torch.Tensor:
        """Return the picture in a file as raw images, (1, C, H, W) uint8."""
        from PIL import Image, ImageOps

        height, width = self.facts["size"]
        with Image.open(path) as file:
            upright = ImageOps.exif_transpose(file)
        if upright.mode.startswith("I"):  # of 16 bits the upper 8; `convert` would cut at 255
            upright = upright.convert("I").point(lambda value: value * (1 / 256)).convert("L")
        rgb = upright.convert("RGB")
        image = rgb.convert("L") if self.facts["channels"] == 1 else rgb
        values = image.resize((width, height), Image.Resampling.BILINEAR).tobytes()
        x: torch.Tensor = torch.frombuffer(bytearray(values), dtype=torch.uint8)
        x = x.view(1, height, width, -1)
        x = (x * float(self.facts["white"] / 255)).round().to(torch.uint8)
        return x.permute(0, 3, 1, 2)


if __name__ == "__main__":
    classifier = Classifier()
    for path in sys.argv[1:]:
        for p, k in zip(*classifier(classifier.open(path))[0].topk(1), strict=True):
            print(f"{classifier.facts['class_names'][k]} {100 * p:.1f} % {path}")  # noqa: T201
