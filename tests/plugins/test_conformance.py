"""`curvetune check` says of a plugin what breaks and why; the checks can fail."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from curvetune.cli import app
from curvetune.conformance.methods import CHECKS

HEAD = """
from typing import Literal
import torch
from torch import nn
from curvetune.methods.cross_entropy import cross_entropy
from curvetune.methods.shared.objective import LossMethod
from curvetune.plugins import MethodConfig, method, model, source, transform

__version__ = "1"
"""
SECTION = '''
class Section(MethodConfig):
    """Something."""
    source = "a test"
    name: Literal["mine"] = "mine"

@method(Section)
def build(config, parts):
    return Mine(parts.new_model(0), parts.recipe, cross_entropy)
'''


def verdict(tmp_path: Path, text: str, *options: str) -> tuple[int, dict[str, str]]:
    """Return the exit code, and the reason for each check that failed."""
    path = tmp_path / "mine.py"
    path.write_text(HEAD + text)
    done = CliRunner().invoke(app, ["check", str(path), "--json", *options])
    assert done.stdout, done.exception
    found = json.loads(done.stdout)
    assert found["passed"] == (done.exit_code == 0)
    return done.exit_code, {c["check"]: c["reason"] for c in found["checks"] if not c["passed"]}


def test_a_sound_method_passes_all_checks(tmp_path: Path) -> None:
    assert verdict(tmp_path, SECTION.replace("Mine(", "LossMethod(")) == (0, {})


BROKEN = {
    "a step lowers the loss": """
    def step(self, batch, meta):
        return {"loss": cross_entropy(self.model(batch.x), batch.y).detach()}
""",
    "metrics have their shapes": """
    def step(self, batch, meta):
        return {**super().step(batch, meta), "extra": torch.zeros(3)}
""",
    "no global random state": """
    def step(self, batch, meta):
        torch.rand(1)
        return super().step(batch, meta)
""",
    "no wait for the device": """
    def step(self, batch, meta):
        if float(batch.x.mean()) > 1e9:
            raise ValueError
        return super().step(batch, meta)
""",
    "no shape that depends on data": """
    def step(self, batch, meta):
        batch.x[batch.y == 0].sum()
        return super().step(batch, meta)
""",
    "resumes bit for bit": """
    steps = 0
    def step(self, batch, meta):
        self.steps += 1
        with torch.no_grad():
            next(self.model.parameters()).mul_(1 - 0.001 * self.steps)
        return super().step(batch, meta)
""",
    "deterministic": """
    def step(self, batch, meta):
        import random
        with torch.no_grad():
            next(self.model.parameters()).mul_(1 - 0.001 * random.random())
        return super().step(batch, meta)
""",
    "a last batch of one, a class of two": """
    def step(self, batch, meta):
        metrics = super().step(batch, meta)
        return {"loss": metrics["loss"] + 0 * batch.y.float().std()}
""",
    "its state is whole": """
    def __init__(self, *arguments):
        super().__init__(*arguments)
        from curvetune.methods.base import State
        self.state = State(optimizer=self._optimizer)
""",
}


@pytest.mark.parametrize("check", BROKEN)
def test_each_check_fails_for_a_method_that_breaks_what_it_is_about(
    check: str, tmp_path: Path
) -> None:
    assert BROKEN.keys() == CHECKS.keys()
    text = f"class Mine(LossMethod):{BROKEN[check]}\n{SECTION}"
    code, failed = verdict(tmp_path, text)
    assert code == 1
    assert check in failed
    assert failed[check]


NETWORK = """
class Net(nn.Module):
    def __init__(self, classes, channels):
        super().__init__()
        self.one = nn.Conv2d(channels, 8, 3, 2)
        self.last = nn.Linear(8, classes)
    def forward(self, x):
        return self.last(self.one(x).relu().mean((2, 3)))
"""


def test_a_network_without_stages_passes(tmp_path: Path) -> None:
    assert verdict(tmp_path, NETWORK + "model('net')(Net)\n") == (0, {})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("model('net')(lambda classes, channels: Net(classes + 1, channels))", "makes (4, 11)"),
        (
            "@model('net')\ndef build(k, c):\n    net = Net(k, c)\n    net.lost = nn.Linear(2, 2)\n"
            "    return net",
            "no gradient reaches lost.weight",
        ),
        (
            "@model('net')\ndef build(k, c):\n    net = Net(k, c)\n"
            "    net.stages = nn.Sequential(nn.Flatten(), nn.Linear(32 * 32 * c, k))\n"
            "    return net",
            ".stages(x) is not what the network makes of x",
        ),
        (
            "import random\n@model('net')\ndef build(k, c):\n    net = Net(k, c)\n"
            "    nn.init.constant_(net.last.weight, random.random())\n    return net",
            "the same seed gives other initial values",
        ),
        (
            "class Odd(torch.autograd.Function):\n"
            "    @staticmethod\n    def forward(x): return x.clone()\n"
            "    @staticmethod\n    def setup_context(ctx, inputs, output): pass\n"
            "    @staticmethod\n    @torch.autograd.function.once_differentiable\n"
            "    def backward(ctx, g): return g\n"
            "class Hidden(Net):\n    def forward(self, x):\n"
            "        return self.last(Odd.apply(self.one(x)).relu().mean((2, 3)))\n"
            "model('net')(Hidden)",
            "nor a double backward is right",
        ),
    ],
)
def test_what_breaks_in_a_network_is_told(text: str, said: str, tmp_path: Path) -> None:
    code, failed = verdict(tmp_path, f"{NETWORK}\n{text}\n")
    assert code == 1
    assert said in " ".join(failed.values())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("@transform('t', draws=1)\ndef t(x, r): return x + r[:, :, None, None]", ""),
        ("@transform('t')\ndef t(x, r): return x + torch.rand(1)", "random numbers of its own"),
        ("@transform('t')\ndef t(x, r): return x[:, :1]", "it makes (6, 1, 32, 32)"),
        ("@transform('t')\ndef t(x, r): return x - x.mean()", "depends on the others"),
        ("@source('s')\ndef s(folder): raise OSError('no such disk')", "OSError: no such disk"),
    ],
)
def test_transforms_and_sources_are_tried_too(text: str, said: str, tmp_path: Path) -> None:
    code, failed = verdict(tmp_path, text)
    assert (code == 0) == (not said)
    assert said in " ".join(failed.values())


def test_a_build_that_returns_no_method_is_told_as_that(tmp_path: Path) -> None:
    text = SECTION[: SECTION.index("    return Mine(")]
    code, failed = verdict(tmp_path, text + "    pass\n")
    assert code == 1
    assert set(failed) == set(CHECKS)
    said = "method 'mine': its build returned NoneType, which has no model, state, phase, start"
    assert all(reason.startswith(said) for reason in failed.values())


SOURCE = """
import numpy as np
from pathlib import Path
from curvetune.data.source import Dataset, Images

@source("s")
def s(folder):
    print("reading")
    y = np.arange(6) % 3
    x = np.load(Path(folder) / "x.npy")
    return Dataset("s", Images(x, y), Images(x, y), ("a", "b", "c"), (1.0,), (1.0,), 0, False)
"""


def test_a_source_is_tried_with_the_data_folder(tmp_path: Path) -> None:
    folder = ["--data-dir", str(tmp_path)]
    np.save(tmp_path / "x.npy", np.zeros((6, 1, 8, 8), np.uint8))
    assert verdict(tmp_path, SOURCE, *folder) == (0, {})
    (tmp_path / "other").mkdir()
    np.save(tmp_path / "other" / "x.npy", np.zeros((6, 8, 8, 1), np.uint8))
    code, failed = verdict(tmp_path, SOURCE, "--data-dir", str(tmp_path / "other"))
    assert code == 1
    assert "images (N, C, H, W) are (6, 8, 8, 1), so C is 8, with 1 mean" in str(failed)
    code, failed = verdict(tmp_path, SOURCE)
    assert code == 1
    line = (HEAD + SOURCE).partition("    x = np.load")[0].count("\n") + 1
    assert re.search(rf"failed with no --data-dir: .*mine.py, line {line}: Type", str(failed))


def test_a_plugin_that_registers_nothing_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(HEAD)
    done = CliRunner().invoke(app, ["check", str(path)])
    assert done.exit_code != 0
    assert "registers nothing" in str(done.exception)
