from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of the shards of this test alone, which is still to be made."""
    monkeypatch.setenv("CURVETUNE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "shards"
