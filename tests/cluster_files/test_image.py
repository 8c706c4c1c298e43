"""cluster/Dockerfile and slurm.sbatch by their linters; what an image is built from is there."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "cluster" / "Dockerfile"
SLURM = ROOT / "cluster" / "slurm.sbatch"


def linter(name: str) -> str:
    """Return the path of a linter, which the extra `dev` brings along."""
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name)
    assert found, f"{name} is missing: pip install -c constraints.txt -e '.[dev]'"
    return found


def complaints(name: str, text: str, *options: str) -> str:
    command = [linter(name), *options, "-"]
    return subprocess.run(command, input=text, capture_output=True, text=True).stdout


def copied(text: str) -> list[str]:
    """Return what an image takes from the repository."""
    lines = re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.MULTILINE)
    return [source for line in lines for source in line.split()]


def faults(text: str) -> list[str]:
    """Return what is wrong with a Dockerfile."""
    ignore = (ROOT / ".dockerignore").read_text().splitlines()
    stages = re.split(r"^FROM ", text, flags=re.MULTILINE)[1:]
    by_name = {re.search(r" AS (\S+)", stage)[1]: stage for stage in stages}  # type: ignore[index]
    installs = re.findall(r"pip install (.+)", text)
    rules = {
        "hadolint": not complaints("hadolint", text, "--no-color"),
        "what is copied is there": all((ROOT / source).exists() for source in copied(text)),
        "and not ignored": all(f"!{source}" in ignore for source in copied(text)),
        "the rest is ignored": "*" in ignore,
        "no root": "USER 1000:1000" in by_name["base"],
        "images are of the base": all(
            by_name[name].startswith("base ") and "USER" not in by_name[name]
            for name in ("mlflow", "node")
        ),
        "no compiler, cache or source": "COPY --from=build /venv /venv" in by_name["node"],
        "the versions are CI's": all(
            "-c constraints.txt" in line or "index[@]" in line for line in installs
        )
        and "grep -E '^(torch|torchvision)=='" in text,
        "ray[default]": "'ray[default]'" in by_name["build"],
        "the driver that SQLAlchemy 2.1 asks for": "'psycopg[binary]'" in by_name["mlflow-build"],
        "no secrets": not re.search(r"(ARG|ENV) \S*(TOKEN|SECRET|PASSWORD|_KEY)", text),
        "the base has a version": ":latest" not in text,
        "a node is what is built unless asked": stages[-1] == by_name["node"],
    }
    return [rule for rule, holds in rules.items() if not holds]


def test_the_image_keeps_the_rules() -> None:
    assert copied(DOCKERFILE.read_text())
    assert faults(DOCKERFILE.read_text()) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("USER 1000:1000", "USER root"),
        ("COPY curvetune ./curvetune", "COPY curvetuned ./curvetune"),
        ("COPY search_spaces", "COPY docs"),
        ("ARG PYTHON=3.12", "ARG PYTHON=3.12\nARG RAY_AUTH_TOKEN"),
        ("install -c constraints.txt 'ray", "install 'ray"),
        ("'ray[default]' .", "ray ."),
        ("python:${PYTHON}-slim AS base", "python:latest AS base"),
        ("WORKDIR /src", "WORKDIR src"),
        ("'psycopg[binary]'", "psycopg2-binary"),
        ("FROM base AS node\n", "FROM base AS node\nUSER 0\n"),
    ],
)
def test_an_image_with_a_fault_is_found(old: str, new: str) -> None:
    text = DOCKERFILE.read_text()
    assert old in text
    assert faults(text.replace(old, new)) != []


def test_shellcheck_has_nothing_to_say_about_the_slurm_script() -> None:
    assert complaints("shellcheck", SLURM.read_text()) == ""


def test_shellcheck_finds_a_fault() -> None:
    assert "SC2086" in complaints("shellcheck", SLURM.read_text() + "\necho $HEAD\n")
