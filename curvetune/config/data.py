"""Which images a cell is about, and how many of them."""

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from curvetune.config.base import Section
from curvetune.config.plugins import PLUGINS, OptionalRef, check_name, named

# Sources that list images of any size (data/tables/), with the size that suits them: that of the
# images, or what photographs are resized to before a crop of 224.
TABLE_SIZES = {
    "list": 32,
    "hf": 32,
    "shards": 32,
    "clothing1m": 256,
    "food101n": 256,
    "webvision": 256,
    "webvision_mini": 256,
    "animal10n": 64,
    "cnwl_red": 84,
    "cnwl_blue": 84,
    "imagenet_lt": 256,
}
DATA_NAMES = ("digits", "cifar10", "cifar100", "folder", *TABLE_SIZES)

# The clean meta set of the released code: 1,000 images of CIFAR; digits has 1,297 in all.
META_PER_CLASS: dict[str, int] = {
    "digits": 10,
    "cifar10": 100,
    "cifar100": 10,
    "clothing1m": 100,  # of its clean validation images
    # What comes with no clean set: whoever takes a meta set of it says so
    **dict.fromkeys(("webvision", "webvision_mini", "animal10n", "cnwl_red", "cnwl_blue"), 0),
    "imagenet_lt": 0,
}
# The shares of wrong labels that the lists of red and blue mini-ImageNet are made with.
NOISE_LEVELS = ("0.0", "0.05", "0.1", "0.15", "0.2", "0.3", "0.4", "0.5", "0.6", "0.8")

# Options that decide how images are fed to a classifier, and not which images: no split has them.
FED = frozenset({"crop_size", "statistics"})


def _by_source(defaults: dict[str, int]) -> str:
    """Return each default with the sources that have it: "10 digits, cifar100; 100 cifar10"."""
    values = dict.fromkeys(defaults.values())
    names = {value: [name for name in defaults if defaults[name] == value] for value in values}
    return "; ".join(f"{value} {', '.join(found)}" for value, found in names.items())


Residence = Literal["auto", "resident", "streamed"]


def is_biased_already(name: str) -> bool:
    """Say whether images of this source have an imbalance and wrong labels of their own."""
    return name == "folder" or name in TABLE_SIZES


class DataConfig(Section):
    """Which images, and how many of them."""

    later: ClassVar[frozenset[str]] = frozenset(
        {"image_size", "plugin", "relabel", "crop_size", "statistics", "variant", "validation"}
    )

    plugin: OptionalRef = None  # that the images are of
    name: Annotated[
        str, Field(description=f"{', '.join(DATA_NAMES)}, or a source of a plugin.")
    ] = "digits"
    meta_per_class: Annotated[
        int,
        Field(
            ge=0,
            description=f"Clean images of each class set aside as the meta set. By source: "
            f"{_by_source(META_PER_CLASS)}.",
        ),
    ] = 10
    per_class_limit: Annotated[
        int | None, Field(ge=1, description="Training images per class before the imbalance.")
    ] = None
    train_limit: Annotated[
        int | None, Field(ge=1, description="Training samples in all, after the bias.")
    ] = None
    test_limit: Annotated[int | None, Field(ge=1, description="Test samples in all.")] = None
    image_size: Annotated[
        int,
        Field(
            ge=8,
            le=512,
            description=f"Height and width that own images are resized to. By source: "
            f"{_by_source(TABLE_SIZES)}.",
        ),
    ] = 32
    crop_size: Annotated[
        int | None,
        Field(
            ge=8,
            le=512,
            exclude_if=lambda value: value is None,
            description="Train on random resized crops of this size, test on the middle.",
        ),
    ] = None
    statistics: Annotated[
        Literal["source", "own"],
        Field(
            exclude_if=lambda value: value == "source",
            description="Mean and sd: of the source (ImageNet's), or of the training images.",
        ),
    ] = "source"
    residence: Annotated[
        Residence,
        Field(
            exclude_if=lambda value: value == "auto",
            description="Images are kept on the device, or read batch by batch; same numbers.",
        ),
    ] = "auto"
    variant: Annotated[
        str | None,
        Field(
            max_length=255,
            exclude_if=lambda value: value is None,
            description="Of cnwl: the share of wrong labels. Of hf: the column of labels.",
        ),
    ] = None
    relabel: Annotated[
        str | None,
        Field(
            pattern=r"^[0-9a-f]{16}$",
            exclude_if=lambda value: value is None,
            description="Digest of corrected labels: relabels/DIGEST.csv of the storage.",
        ),
    ] = None

    validation: Annotated[
        Literal["clean"] | Annotated[float, Field(gt=0, le=0.5)] | None,
        Field(
            exclude_if=lambda value: value is None,
            description="What is evaluated on instead of the test set, which is then never read: "
            "this share of the training set, with its given labels; or half of the meta set.",
        ),
    ] = None

    transform_plugin: OptionalRef = None
    transform: Annotated[
        str | None,
        Field(
            exclude_if=lambda value: value is None,
            description="An augmentation of a plugin, after crop and mirror; of all training.",
        ),
    ] = None

    @model_validator(mode="before")
    @classmethod
    def _it_may_be_of_a_plugin(cls, values: Any) -> Any:
        values = named(values, PLUGINS.transforms, "transform", "transform_plugin")
        return named(values, PLUGINS.sources)

    @field_validator("name")
    @classmethod
    def _it_is_known(cls, name: str, info: ValidationInfo) -> str:
        return check_name(name, DATA_NAMES, PLUGINS.sources, info.data.get("plugin"))

    @field_validator("transform")
    @classmethod
    def _so_is_the_transform(cls, name: str | None, info: ValidationInfo) -> str | None:
        plugin = info.data.get("transform_plugin")
        if name is None or plugin is not None or name in PLUGINS.transforms:
            return name
        if not PLUGINS.transforms:
            raise ValueError(
                f"{name!r}: no plugin has given a transform; give one with --plugin FILE.py"
            )
        return check_name(name, (), PLUGINS.transforms, plugin)

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_the_source(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        name = str(values.get("name", "digits"))
        defaults = {"meta_per_class": META_PER_CLASS.get(name), "image_size": TABLE_SIZES.get(name)}
        return {k: v for k, v in defaults.items() if v is not None} | values

    @field_validator("variant", mode="before")
    @classmethod
    def _a_share_may_be_a_number(cls, variant: Any) -> Any:
        is_number = isinstance(variant, int | float) and not isinstance(variant, bool)
        return str(variant) if is_number else variant

    @model_validator(mode="after")
    def _only_own_images_are_resized(self) -> Self:
        if not self.is_biased_already and self.image_size != 32:
            raise ValueError(
                f"image_size={self.image_size}: the images of {self.name} stay as they are; "
                f"leave it out (it is for data.name=folder, list, hf and the like)"
            )
        return self

    @model_validator(mode="after")
    def _the_variant_is_one_of_it(self) -> Self:
        if self.name.startswith("cnwl_"):
            allowed = f"allowed are {', '.join(NOISE_LEVELS)}, the share of wrong labels"
            if self.variant not in NOISE_LEVELS:
                raise ValueError(f"variant={self.variant}: {allowed}: --set data.variant=0.4")
        elif self.variant is not None and self.name != "hf":
            raise ValueError(
                f"variant={self.variant}: {self.name} has none; leave it out (it is for "
                f"data.name=cnwl_red, cnwl_blue and hf)"
            )
        return self

    @model_validator(mode="after")
    def _only_own_images_are_cropped_otherwise(self) -> Self:
        given = {"crop_size": self.crop_size, "statistics": self.statistics}
        for key, value in given.items():
            if not self.is_biased_already and value not in (None, "source"):
                raise ValueError(
                    f"{key}={value}: {self.name} has a recipe of its own; leave it out (it is for "
                    f"photographs in a folder or a list: data.name=folder)"
                )
        if self.crop_size is not None and self.crop_size > self.image_size:
            raise ValueError(
                f"crop_size={self.crop_size} is more than image_size={self.image_size}, to which "
                f"images are resized first; usual is an image_size of 8/7 of it: --set "
                f"image_size={round(self.crop_size * 8 / 7)}"
            )
        return self

    @model_validator(mode="after")
    def _both_halves_of_the_meta_set_have_images(self) -> Self:
        if self.validation == "clean" and self.meta_per_class < 2:
            raise ValueError(
                f"validation=clean takes half of the meta set, which has meta_per_class="
                f"{self.meta_per_class} images of each class; allowed is at least 2, or a share of "
                f"the training set: validation=0.1"
            )
        return self

    @property
    def clean_per_class(self) -> int:
        """Clean images of each class that methods may use."""
        held_out = self.meta_per_class // 2 if self.validation == "clean" else 0
        return self.meta_per_class - held_out

    @property
    def is_biased_already(self) -> bool:
        """Whether an imbalance of 1 means the images as they are, rather than equal classes."""
        return is_biased_already(self.name)

    def identity(self) -> dict[str, Any]:
        """Return what decides the split; how images are augmented, or where they are, does not."""
        found = super().identity()
        others = {*FED, "residence"}
        return {k: v for k, v in found.items() if not k.startswith("transform") and k not in others}

    def transform_identity(self) -> dict[str, Any]:
        """Return what decides how images are fed, beside what the data's source says."""
        found = {k: v for k, v in super().identity().items() if k in FED}
        if self.transform is None:
            return found
        assert self.transform_plugin is not None, "the validator has set it"
        plugin = self.transform_plugin.model_dump(mode="json")
        return found | {"transform": {"name": self.transform, "plugin": plugin}}
