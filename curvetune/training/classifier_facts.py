"""What a stored classifier has to be told beside its weights: how images reach it, and its classes.

A result holds it. Of results of older versions, which do not, it is made of the data itself.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from curvetune.data.source import Dataset
from curvetune.errors import CorruptError


@dataclass(frozen=True)
class ClassifierFacts:
    """How images are fed to a classifier when it is evaluated, and what its outputs are called."""

    class_names: tuple[str, ...]  # (K,)
    channels: int  # C
    size: tuple[int, int]  # (H, W) that images are resized to
    crop: int | None  # size of the middle that is then looked at; all of it if None
    mean: tuple[float, ...]  # (C,), subtracted from the raw values
    std: tuple[float, ...]  # (C,), then divides them
    white: int  # the raw value of the brightest pixel

    @property
    def num_classes(self) -> int:
        """K."""
        return len(self.class_names)

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of what the network sees."""
        return (self.channels, *(self.size if self.crop is None else (self.crop, self.crop)))

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @classmethod
    def of(cls, dataset: Dataset) -> Self:
        """Return those of a data set, fed as a cell says (recipe.py)."""
        channels, height, width = dataset.train.x.shape[1:]
        return cls(
            class_names=dataset.class_names,
            channels=channels,
            size=(height, width),
            crop=dataset.crop,
            mean=dataset.mean,
            std=dataset.std,
            white=dataset.white,
        )

    @classmethod
    def from_json(cls, stored: Mapping[str, Any], where: str) -> Self:
        """Return what `to_json` made.

        Raises:
            CorruptError: it is something else.
        """
        try:
            height, width = map(int, stored["size"])
            found = cls(
                class_names=tuple(map(str, stored["class_names"])),
                channels=int(stored["channels"]),
                size=(height, width),
                crop=None if stored["crop"] is None else int(stored["crop"]),
                mean=tuple(map(float, stored["mean"])),
                std=tuple(map(float, stored["std"])),
                white=int(stored["white"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise CorruptError(
                f"{where}: does not say how images are fed to its classifier ({error!r})"
            ) from None
        if not found.channels == len(found.mean) == len(found.std) or not found.class_names:
            raise CorruptError(
                f"{where}: has another number of channels, means and sds, or no class"
            )
        return found
