"""What is installed, and the data."""

import importlib.metadata
import platform
from collections.abc import Iterator, Sequence
from pathlib import Path

from curvetune.status.doctor.finding import Finding, Subject

NAMED = ("curvetune", "torch", "torchvision", "ray", "mlflow")  # whose versions are told


def versions(subject: Subject) -> Sequence[Finding]:
    """Is everything installed in a version that curvetune works with?"""
    import curvetune

    said = ", ".join(f"{name} {version_of(name)}" for name in NAMED[1:] if version_of(name))
    found = f"curvetune {curvetune.__version__}, Python {platform.python_version()}, {said}"
    try:
        wrong = list(_wrong(importlib.metadata.distribution("curvetune")))
    except importlib.metadata.PackageNotFoundError:
        advice = "pip install -e . in its folder, so that what it needs can be checked"
        return [Finding("versions", "note", f"{found}; curvetune is not installed", advice)]
    return wrong or [Finding("versions", "ok", found)]


def _wrong(package: importlib.metadata.Distribution) -> Iterator[Finding]:
    """Yield a finding for Python and every package that is not in the range that is declared."""
    from packaging.requirements import Requirement
    from packaging.specifiers import SpecifierSet

    pythons = package.metadata["Requires-Python"] or ""
    if not SpecifierSet(pythons).contains(platform.python_version(), prereleases=True):
        found = f"Python {platform.python_version()}, allowed is {pythons}"
        yield Finding("versions", "fail", found, "make a virtual environment with another Python")
    for text in package.requires or []:
        wanted = Requirement(text)
        if wanted.marker is not None and not wanted.marker.evaluate({"extra": ""}):
            continue
        version = version_of(wanted.name)
        if version is None or not wanted.specifier.contains(version, prereleases=True):
            found = f"{wanted.name} {version or 'is not installed'}, allowed is {wanted.specifier}"
            advice = f"pip install '{wanted.name}{wanted.specifier}'"
            yield Finding("versions", "fail", found, advice)


def version_of(package: str) -> str | None:
    """Return the version of an installed package, without importing it; None without one."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def newer(version: str, least: str) -> bool:
    """Say whether `version` is `least` or later."""
    from packaging.version import Version

    return Version(version) >= Version(least)


def data(subject: Subject) -> Sequence[Finding]:
    """Which sources of images are there?"""
    from curvetune.config.data import TABLE_SIZES
    from curvetune.data import SOURCES

    folder = subject.data_dir
    names = [name for name in SOURCES if name not in TABLE_SIZES]
    names = [name for name in names if name != "folder" or folder is not None]
    findings = {name: _source(name, folder) for name in names}
    there = [name for name, f in findings.items() if f.status != "note" and name != "digits"]
    listed = None if folder is None else _listed(folder)
    if folder is not None and listed is None and not there:
        found = f"--data-dir {folder} has none of {', '.join(n for n in SOURCES if n != 'digits')}"
        missing = Finding("data", "fail", found, "what was looked for is told below")
        return [missing, *findings.values()]
    return [*findings.values()] if listed is None else [listed, *findings.values()]


def _listed(folder: Path) -> Finding | None:
    """Return what `curvetune data check` says of a folder whose images are rows of a table."""
    from curvetune.config.data import TABLE_SIZES
    from curvetune.errors import DataError
    from curvetune.status.data_check import check_data

    try:
        found = check_data(folder, quick=True)  # many images take longer to read than a doctor has
    except DataError:  # each source says for itself what it misses
        return None
    if found.name not in TABLE_SIZES:
        return None
    if found.problem is not None:
        return Finding(
            "data", "fail", f"{found.name}: {found.problem}", "mend it, or copy it again"
        )
    advice = f"curvetune data check {folder} reads every image"
    return Finding("data", "ok", f"{found.name}: {'; '.join(found.notes)}; {advice}")


def plugins(subject: Subject) -> Sequence[Finding]:
    """Which plugins are there, and what do they register?"""
    from curvetune.config.plugins import PLUGINS
    from curvetune.plugins.load import broken, load_installed, loaded

    load_installed()
    found = []
    for plugin in loaded():
        what = ", ".join(f"{kind} {name}" for kind, name in PLUGINS.names_of(plugin.ref))
        registers = f"registers {what}" if what else "registers nothing"
        found.append(Finding("plugins", "ok", f"{plugin.ref} {registers}"))
    for name, why in broken().items():
        advice = f"mend or uninstall {name}; grids that do not use it run"
        found.append(Finding("plugins", "warn", f"{name} cannot be loaded: {why}", advice))
    return found or [Finding("plugins", "ok", "none")]


def _source(name: str, data_dir: Path | None) -> Finding:
    from curvetune import data
    from curvetune.errors import DataError

    try:
        digest = data.digest(name, data_dir)
        labels = data.train_labels(name, data_dir)
    except DataError as error:
        if f"no {name} " not in str(error):  # which all sources say where they find nothing
            return Finding("data", "fail", f"{name}: {error}", "mend the files, or copy them again")
        where = "needs --data-dir" if data_dir is None else f"is not in {data_dir}"
        return Finding("data", "note", f"{name} {where}", str(error))
    if labels is None:
        found = f"{name} will be downloaded by the first grid that needs it"
        return Finding("data", "note", found, "or give a folder that has it with --data-dir")
    found = f"{name}: {len(labels):,} training images, digest {digest[:12]}"
    return Finding("data", "ok", found)
