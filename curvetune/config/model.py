"""The classifier of a cell."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from curvetune.config.base import Section


class ModelConfig(Section):
    """The classifier."""

    later: ClassVar[frozenset[str]] = frozenset({"precision"})

    name: Literal["resnet8", "resnet20", "resnet32", "wrn-16-8"] = "resnet32"
    init: Annotated[
        Literal["normal", "kaiming"],
        Field(description="normal: N(0, 0.02) convolutions (released code); kaiming: He et al."),
    ] = "normal"
    precision: Annotated[
        Literal["float32", "bfloat16"],
        Field(description="bfloat16: of the convolutions alone; faster, other numbers."),
    ] = "float32"
