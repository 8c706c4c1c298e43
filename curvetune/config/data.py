"""Which images a cell is about, and how many of them."""

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from curvetune.config.base import Section

DataName = Literal["digits", "cifar10", "cifar100", "folder"]

# The clean meta set of the released code: 1,000 images of CIFAR; digits has 1,297 in all.
META_PER_CLASS: dict[str, int] = {"digits": 10, "cifar10": 100, "cifar100": 10}


class DataConfig(Section):
    """Which images, and how many of them."""

    later: ClassVar[frozenset[str]] = frozenset({"image_size", "relabel"})

    name: DataName = "digits"
    meta_per_class: Annotated[
        int, Field(ge=0, description="Clean images of each class set aside as the meta set.")
    ] = 10
    per_class_limit: Annotated[
        int | None, Field(ge=1, description="Training images per class before the imbalance.")
    ] = None
    train_limit: Annotated[
        int | None, Field(ge=1, description="Training samples in all, after the bias.")
    ] = None
    test_limit: Annotated[int | None, Field(ge=1, description="Test samples in all.")] = None
    image_size: Annotated[
        int, Field(ge=8, le=512, description="Height and width of the images of a folder.")
    ] = 32
    relabel: Annotated[
        str | None,
        Field(
            pattern=r"^[0-9a-f]{16}$",
            description="Digest of corrected labels: relabels/DIGEST.csv of the storage.",
        ),
    ] = None

    @model_validator(mode="before")
    @classmethod
    def _meta_size_of_the_source(cls, values: Any) -> Any:
        if isinstance(values, dict) and "meta_per_class" not in values:
            size = META_PER_CLASS.get(str(values.get("name", "digits")))
            return values if size is None else {**values, "meta_per_class": size}
        return values

    @model_validator(mode="after")
    def _only_a_folder_is_resized(self) -> Self:
        if self.name != "folder" and self.image_size != 32:
            raise ValueError(
                f"image_size={self.image_size}: the images of {self.name} stay as they are; "
                f"leave it out (it is for data.name=folder)"
            )
        return self

    @property
    def is_biased_already(self) -> bool:
        """Whether an imbalance of 1 means the images as they are, rather than equal classes."""
        return self.name == "folder"
