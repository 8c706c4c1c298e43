"""Virtual environments for hosts that differ: without curvetune, or with other code of it.

They borrow the packages of the tests' own environment by links, so making one takes a second and no
network.
"""

import subprocess
import sys
import tarfile
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

from bed import ROOT

TEXT = "import sys\nfrom curvetune.cli import main\nsys.exit(main())\n"


def without_curvetune(folder: Path) -> Path:
    """Make an environment with all packages, but without curvetune."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    (site,) = folder.glob("lib/python*/site-packages")
    for path in map(Path, sys.path):
        if path.name in ("site-packages", "dist-packages"):
            for entry in path.iterdir():
                is_ours = entry.name.lower().startswith(("curvetune", "__editable__", "_curvetune"))
                if not is_ours and entry.suffix != ".pth" and not (site / entry.name).exists():
                    (site / entry.name).symlink_to(entry)
    return folder


def with_code(
    folder: Path, commit: str = "HEAD", edits: Mapping[str, tuple[str, str]] = {}
) -> Path:
    """Make an environment with the curvetune of a commit, in which texts may be replaced.

    Args:
        edits: by file (curvetune/…), what is replaced by what; it must be there.
    """
    without_curvetune(folder)
    code = folder / "code"
    paths = ("curvetune", "search_spaces", "pyproject.toml")
    packed = subprocess.run(
        ["git", "-C", str(ROOT), "archive", commit, *paths], check=True, capture_output=True
    )
    with tarfile.open(fileobj=BytesIO(packed.stdout)) as archive:
        archive.extractall(code, filter="data")
    for name, (old, new) in edits.items():
        text = (code / name).read_text(encoding="utf-8")
        assert old in text, f"{name} of {commit} has no {old!r}"
        (code / name).write_text(text.replace(old, new), encoding="utf-8")
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "a_code.pth").write_text(f"{code}\n")
    script = folder / "bin" / "curvetune"
    script.write_text(f"#!{folder / 'bin' / 'python'}\n{TEXT}")
    script.chmod(0o755)
    return folder
