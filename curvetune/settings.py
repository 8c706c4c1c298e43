"""Where and with what a command runs: defaults from CURVETUNE_* environment variables.

None of these decide a number, so none of them enter a cell's identity. A command-line option wins
over the environment, the environment over the default.
"""

from pathlib import Path

from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Read with `Settings()`: CURVETUNE_STORAGE, CURVETUNE_DATA_DIR."""

    model_config = SettingsConfigDict(env_prefix="CURVETUNE_", frozen=True)

    storage: Path = Path("curvetune-results")
    data_dir: Path | None = None
