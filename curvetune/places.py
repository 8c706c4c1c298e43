"""Where a command finds its images and keeps its results, and who else hears of them."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Self, cast

from curvetune.errors import ConfigError, printable

if TYPE_CHECKING:
    from curvetune.config import DataConfig
    from curvetune.data import OnBad, Source

ON_BAD = ("skip", "fail")


@dataclass(frozen=True)
class Places:
    """Where the images are, and where the results are kept; neither decides a number.

    Args:
        on_bad: what is done about images of a folder that cannot be used: skip or fail.
    """

    data_dir: Path | None
    storage: Path
    on_bad: str = "fail"

    def or_else(self, data_dir: str | None, on_bad: str | None) -> Self:
        """Return them, with what a space says of its images where nobody else has."""
        images = self.data_dir
        if images is None and data_dir is not None:
            images = Path(data_dir)
        skip = on_bad if on_bad is not None and self.on_bad == "fail" else self.on_bad
        return replace(self, data_dir=images, on_bad=skip)

    def source(self, config: "DataConfig") -> "Source":
        """Return where the images of a cell come from.

        Raises:
            ConfigError: there is no such source, or `on_bad` is neither of the two.
        """
        from curvetune import data  # inside: `--help` must not pay for it

        on_bad = parse_on_bad(self.on_bad)
        return data.find_source(
            config.name, image_size=config.image_size, on_bad=on_bad, variant=config.variant
        )


@dataclass(frozen=True)
class Telling:
    """Who hears of a grid beside the storage.

    Args:
        tracking_uri: of MLflow; None is MLFLOW_TRACKING_URI, else a database in the storage.
        notify: where a small JSON is POSTed when the grid ends.
        log_models: whether MLflow keeps the classifiers too.
    """

    tracking_uri: str | None = None
    notify: str | None = None
    log_models: bool = False


def parse_on_bad(text: str) -> "OnBad":
    """Return what is to be done about images that cannot be used.

    Raises:
        ConfigError: it is neither skip nor fail.
    """
    if text not in ON_BAD:
        raise ConfigError(f"--on-bad {printable(text)!r}: allowed are {' and '.join(ON_BAD)}")
    return cast("OnBad", text)
