"""The examples run, and a method added from outside is one like any other."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python in a process of its own: what it registers stays there."""
    paths = [str(ROOT), str(ROOT / "examples"), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, env=environment, check=False
    )


def test_a_method_of_ones_own_trains_a_cell_and_learns() -> None:
    done = python(str(ROOT / "examples" / "add_a_method.py"))
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    found = re.fullmatch(r"gce on digits, (\d+) images: accuracy ([\d.]+) %, best ([\d.]+) %", line)
    assert found, line
    assert int(found[1]) > 1000
    assert 50 < float(found[2]) <= float(found[3]) <= 100  # a guess is right in one of ten


CHECKS = """
import torch
from add_a_method import GCEConfig, generalised_cross_entropy, register
from curvetune.config import METHOD_SECTIONS, CellConfig, MethodConfig, add_method
from curvetune.errors import ConfigError
from curvetune.config.load import full_key, validate

before = CellConfig().cell_id("digest")
register()
register()  # a second time changes nothing
assert list(METHOD_SECTIONS)[-1] == "gce"
assert full_key("power", "test") == "method.power"
cell = validate({"method": {"name": "gce", "power": 0.5}}, CellConfig, "test")
assert cell.method == GCEConfig(power=0.5)
assert CellConfig.model_validate_json(cell.model_dump_json()) == cell
assert cell.cell_id("digest") != CellConfig(method=GCEConfig()).cell_id("digest")
assert CellConfig().cell_id("digest") == before
assert CellConfig(method={"name": "curvenet"}).method.name == "curvenet"
for method in ({"name": "gce", "power": 2}, {"name": "gce", "pover": 1}, {"name": "gcf"}):
    try:
        validate({"method": method}, CellConfig, "test")
    except ConfigError as error:
        print(error)

class Other(MethodConfig):
    name: str = "gce"

try:
    add_method(Other)
except ValueError as error:
    print(error)

logits, y = torch.randn(5, 3, dtype=torch.float64), torch.tensor([0, 1, 2, 0, 1])
p = logits.softmax(1)[torch.arange(5), y]
close = torch.testing.assert_close
close(generalised_cross_entropy(logits, y, power=1.0), 1 - p)
close(generalised_cross_entropy(logits, y, power=0.7), (1 - p**0.7) / 0.7)
close(generalised_cross_entropy(logits, y, power=1e-9), -p.log())
"""


def test_an_added_method_has_an_address_and_the_same_complaints_as_the_others() -> None:
    done = python("-c", CHECKS)
    assert done.returncode == 0, done.stderr
    assert "method.gce.power: Input should be less than or equal to 1, got 2" in done.stdout
    assert "method.gce.pover: unknown key, got 1" in done.stdout
    assert "did you mean 'power'?" in done.stdout
    assert "method.name: unknown method 'gcf'" in done.stdout
    assert "there is a method 'gce' already" in done.stdout
