"""The classifier of a cell."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from curvetune.config.base import Section
from curvetune.config.plugins import PLUGINS, OptionalRef, check_name, named

MODEL_NAMES = ("resnet8", "resnet20", "resnet32", "wrn-16-8")


class ModelConfig(Section):
    """The classifier."""

    later: ClassVar[frozenset[str]] = frozenset({"plugin", "precision"})

    plugin: OptionalRef = None  # that the classifier is of
    name: Annotated[
        str, Field(description=f"{', '.join(MODEL_NAMES)}, or a network of a plugin.")
    ] = "resnet32"
    init: Annotated[
        Literal["normal", "kaiming"],
        Field(description="normal: N(0, 0.02) convolutions (released code); kaiming: He et al."),
    ] = "normal"
    precision: Annotated[
        Literal["float32", "bfloat16"],
        Field(description="bfloat16: of the convolutions alone; faster, other numbers."),
    ] = "float32"

    @model_validator(mode="before")
    @classmethod
    def _it_may_be_of_a_plugin(cls, values: Any) -> Any:
        return named(values, PLUGINS.models)

    @field_validator("name")
    @classmethod
    def _it_is_known(cls, name: str, info: ValidationInfo) -> str:
        return check_name(name, MODEL_NAMES, PLUGINS.models, info.data.get("plugin"))
