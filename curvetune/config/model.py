"""The classifier of a cell."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from curvetune.config.base import Section
from curvetune.config.networks import MODEL_NAMES, TORCHVISION, TORCHVISION_NAMES
from curvetune.config.plugins import PLUGINS, OptionalRef, check_name, named
from curvetune.errors import nearest


class ModelConfig(Section):
    """The classifier."""

    later: ClassVar[frozenset[str]] = frozenset(
        {"plugin", "precision", "weights", "weights_digest"}
    )

    plugin: OptionalRef = None  # that the classifier is of
    name: Annotated[
        str,
        Field(description=f"{', '.join(MODEL_NAMES)}, torchvision/NAME, or a plugin's network."),
    ] = "resnet32"
    init: Annotated[
        Literal["normal", "kaiming"],
        Field(description="normal: N(0, 0.02) convolutions (released code); kaiming: He et al."),
    ] = "normal"
    precision: Annotated[
        Literal["float32", "bfloat16", "bfloat16-onednn"],
        Field(
            description="bfloat16: of the convolutions alone; faster, other numbers. "
            "bfloat16-onednn: faster still on a CPU with AVX512-BF16, for our own networks."
        ),
    ] = "float32"

    weights: Annotated[
        str | None,
        Field(
            exclude_if=lambda value: value is None,
            description="A file of weights to start from: .safetensors, .pt or .pth.",
        ),
    ] = None
    weights_digest: Annotated[
        str | None,
        Field(
            pattern=r"^[0-9a-f]{16}$",
            exclude_if=lambda value: value is None,
            description="Of that file's content; found unless given.",
        ),
    ] = None

    @model_validator(mode="before")
    @classmethod
    def _it_may_be_of_a_plugin(cls, values: Any) -> Any:
        return named(values, PLUGINS.models)

    @field_validator("name")
    @classmethod
    def _it_is_known(cls, name: str, info: ValidationInfo) -> str:
        if name in TORCHVISION_NAMES:
            return name
        if name.startswith(TORCHVISION):
            known = ", ".join(word.removeprefix(TORCHVISION) for word in TORCHVISION_NAMES)
            raise ValueError(
                f"{name!r}: torchvision has no such classifier{nearest(name, TORCHVISION_NAMES)}; "
                f"allowed are {known}"
            )
        return check_name(name, MODEL_NAMES, PLUGINS.models, info.data.get("plugin"))

    @model_validator(mode="before")
    @classmethod
    def _weights_are_known_by_their_content(cls, values: Any) -> Any:
        if not isinstance(values, Mapping) or not isinstance(values.get("weights"), str):
            return values
        if "weights_digest" in values:  # of a stored config: the file need not be here
            return values
        path = Path(values["weights"]).expanduser()
        try:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()[:16]
        except OSError as error:
            raise ValueError(
                f"weights={values['weights']!r}: cannot be read ({error.strerror}); give a file "
                f"that ends in .safetensors, .pt or .pth"
            ) from None
        return {**values, "weights": str(path.absolute()), "weights_digest": digest}

    def identity(self) -> dict[str, Any]:
        """Return what decides the numbers: of weights their content, not where they are."""
        return {key: value for key, value in super().identity().items() if key != "weights"}
