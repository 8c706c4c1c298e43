"""What plugins register runs: networks, transforms and sources in a cell, methods in a grid."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import curvetune
from curvetune.cli import app
from curvetune.config import CellConfig
from curvetune.config.plugins import PluginRef, Transform
from curvetune.data import find_source
from curvetune.data.sets.resident import ResidentSet
from curvetune.data.source import Dataset, Images, Source
from curvetune.errors import ConfigError
from curvetune.models import build, bytes_of
from curvetune.plugins.load import load_plugins
from curvetune.store import CellStore

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "own_method"

OTHERS = """
import numpy as np
import torch
from torch import nn
from curvetune.data.source import Dataset, Images
from curvetune.plugins import model, source, transform

__version__ = "1"

@model("tiny")
def tiny(classes, channels):
    class Tiny(nn.Module):
        def __init__(self):
            super().__init__()
            head = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, classes))
            self.stages = nn.Sequential(nn.Sequential(nn.Conv2d(channels, 8, 3), nn.ReLU()), head)
        def forward(self, x):
            return self.stages(x)
    return Tiny()

@model("bare")
def bare(classes, channels):
    class Bare(nn.Module):
        def __init__(self):
            super().__init__()
            self.one = nn.Conv2d(channels, 8, 3)
            self.last = nn.Linear(8, classes)
        def forward(self, x):
            return self.last(self.one(x).relu().mean((2, 3)) ** 2)
    return Bare()

@source("stripes")
def stripes(folder):
    draw = np.random.default_rng(0)
    def some(count):
        y = np.arange(count) % 3
        x = draw.integers(0, 100, (count, 1, 8, 8))
        x[np.arange(count), 0, 2 * y] += 100
        return Images(x.astype(np.uint8), y)
    return Dataset("stripes", some(120), some(60), ("a", "b", "c"), (80.0,), (60.0,), 1, False)

@transform("brighter", draws=1)
def brighter(x, numbers):
    return x + 20 * numbers[:, :, None, None]
"""


@pytest.fixture
def others(tmp_path: Path) -> str:
    path = tmp_path / "others.py"
    path.write_text(OTHERS)
    return str(path)


SMALL: dict[str, Any] = {
    "model.name": "tiny",
    "data.meta_per_class": 4,
    "allocate.batch_size": 16,
    "probe.batch_size": 16,
}


def trained(others: str, storage: Path, method: str = "cross-entropy", **more: Any) -> Any:
    return curvetune.train(
        method,
        data="stripes",
        profile="smoke",
        set={**SMALL, **more},
        storage=storage,
        plugins=others,
    )


def test_a_network_a_source_and_a_transform_make_a_cell(others: str, tmp_path: Path) -> None:
    plain = trained(others, tmp_path / "st")
    again = trained(others, tmp_path / "st")
    bright = trained(others, tmp_path / "st", **{"data.transform": "brighter"})
    assert (again.cell_id, again.result) == (plain.cell_id, plain.result)
    assert bright.cell_id != plain.cell_id
    assert plain.accuracy > 50
    losses = [cell.results.history(cell.cell_id)["loss"].to_list() for cell in (plain, bright)]
    assert losses[0] != losses[1]
    assert len(list((tmp_path / "st" / "splits").glob("*.safetensors"))) == 1  # the same one


def test_a_plan_with_a_plugins_network_knows_its_size(others: str, tmp_path: Path) -> None:
    load_plugins([others])
    tiny, bare = (build(name, 10).state_dict().values() for name in ("tiny", "bare"))
    sizes = [sum(4 * tensor.numel() for tensor in some) for some in (tiny, bare)]
    assert [bytes_of("tiny", 10), bytes_of("bare", 10)] == sizes
    state = torch.get_rng_state()
    words = ("plan", "digits", "--plugin", others, "--methods", "cross-entropy", "--json")
    axis = ("--seeds", "0", "--set", "model.name=[tiny,bare]", "--set", "imbalance=1")
    done = CliRunner().invoke(app, [*words, *axis, "--set", "noise_rate=0"])
    assert done.exit_code == 0, done.exception
    assert json.loads(done.stdout)["price"]["disk"]["models_bytes"] == sum(sizes)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_network_that_reads_a_number_is_built_and_one_that_fails_names_its_line(
    tmp_path: Path,
) -> None:
    head = "from torch import nn, ones\nfrom curvetune.plugins import model\n__version__ = '1'\n"
    one = "@model('reads')\ndef reads(k, c): return nn.Linear(c, int(ones(()).item()))\n"
    grey = "@model('grey')\ndef grey(k, c):\n    assert c == 1\n    return nn.Linear(c, k)\n"
    bad = "@model('bad')\ndef bad(k, c): return nn.Linear(k / 2, c)\n"
    (tmp_path / "nets.py").write_text(head + one + grey + bad)
    load_plugins([str(tmp_path / "nets.py")])
    assert (bytes_of("reads", 10), bytes_of("grey", 10)) == (4 * 4, 4 * 20)
    with pytest.raises(ConfigError, match=r"model.name=bad: .*nets.py, line 11: TypeError.*mend"):
        bytes_of("bad", 10)


def test_a_source_that_fails_or_gives_what_is_no_image_is_an_error_of_the_user(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "others.py"
    path.write_text(OTHERS.replace("    draw = np", "    print('reading')\n    draw = np"))
    plan = {"data": "stripes", "plugins": path, "storage": tmp_path / "st", "profile": "smoke"}
    assert find_source_of(path).digest(None)
    assert capsys.readouterr().out == ""
    path.write_text(OTHERS.replace("return Images(x.astype(np.uint8), y)", "return Images(x, y)"))
    with pytest.raises(ConfigError, match=r"data.name=stripes: train: images .* int64"):
        curvetune.train("cross-entropy", **plan)
    path.write_text(OTHERS.replace("    draw = np", "    open(folder)\n    draw = np"))
    with pytest.raises(
        ConfigError, match=r"failed with no --data-dir: .*others.py, line \d+: Type"
    ):
        curvetune.train("cross-entropy", **plan)


def find_source_of(path: Path) -> Source:
    load_plugins([str(path)])
    return find_source("stripes")


def test_curvenet_freezes_the_stages_of_a_plugins_network(others: str, tmp_path: Path) -> None:
    options = {"method.skip_layers": 1, "method.removed_losses": 1}
    assert trained(others, tmp_path, "curvenet", **options).accuracy > 30
    with pytest.raises(ConfigError, match=r"skip_layers=2: tiny has 2 stages"):
        trained(others, tmp_path, "curvenet", **{**options, "method.skip_layers": 2})
    with pytest.raises(ConfigError, match=r"skip_layers=1: bare has no .stages, and none"):
        trained(others, tmp_path, "curvenet", **{**options, "model.name": "bare"})


def test_a_network_without_stages_trains_and_a_method_that_reads_them_says_so(
    others: str, tmp_path: Path
) -> None:
    assert trained(others, tmp_path, **{"model.name": "bare"}).accuracy > 30
    options = {"model.name": "bare", "method.removed_losses": 1}
    assert trained(others, tmp_path, "curvenet", **options).accuracy > 0
    with pytest.raises(ConfigError, match=r"Bare has none; give it .stages"):
        trained(others, tmp_path, "ldam-drw", **{"model.name": "bare"})


def test_a_transform_draws_for_each_sample_and_not_for_evaluation() -> None:
    ref = PluginRef(name="x", version="1", digest="0" * 16)
    y = np.arange(12) % 3
    x = np.full((12, 1, 4, 4), 100, np.uint8)
    facts = Dataset("x", Images(x, y), Images(x, y), ("a", "b", "c"), (0.0,), (1.0,), 0, False)
    add = Transform(ref, lambda images, numbers: images + numbers[:, :, None, None], draws=1)
    some = ResidentSet(x, y, facts, torch.device("cpu"), add)

    def epoch(size: int) -> torch.Tensor:
        parts = list(some.batches(size, torch.Generator().manual_seed(0)))
        order = torch.cat([batch.index for batch in parts]).argsort()
        return torch.cat([batch.x for batch in parts])[order]

    assert torch.equal(epoch(5), epoch(12))
    assert len(epoch(5)[:, 0, 0, 0].unique()) == 12
    assert torch.equal(torch.cat([b.x for b in some.ordered(5)]), torch.full((12, 1, 4, 4), 100.0))


def curvetune_command(*words: str, cwd: Path) -> "subprocess.Popen[str]":
    environment = os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "100"}
    return subprocess.Popen(
        [sys.executable, "-m", "curvetune", *words],
        cwd=cwd,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def ran(*words: str, cwd: Path) -> tuple[int, str, str]:
    process = curvetune_command(*words, cwd=cwd)
    out, err = process.communicate(timeout=200)
    return process.returncode, out, err


SPACE = """
plugins: [soft_labels.py]
base:
  data: {name: digits, per_class_limit: 30, test_limit: 100}
  bias: {imbalance: 2, noise: symmetric, noise_rate: 0.4}
  model: {name: resnet8, init: kaiming}
  probe: {epochs: 6, cyclic_start: 3, half_period: 1, batch_size: 32}
  allocate: {epochs: 12, milestones: [8], warmup: 1, batch_size: 32}
grid:
  seed: [0, 1]
  method:
    - {name: soft-labels}
    - {name: cross-entropy}
    - {name: curvenet, removed_losses: 1}
"""


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.faults
def test_a_method_of_ones_own_runs_is_killed_resumed_reported_and_edited(tmp_path: Path) -> None:
    (tmp_path / "space.yaml").write_text(SPACE)
    text = (EXAMPLE / "soft_labels.py").read_text()
    (tmp_path / "soft_labels.py").write_text(text)
    grid = ("grid", "space.yaml", "--storage", "st", "--max-concurrent", "2", "--json")

    process = curvetune_command(*grid, "--checkpoint-every", "1", cwd=tmp_path)
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("st/cells/*/DONE.json")) and time.monotonic() < deadline:
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    done = {path.parent.name: path.read_bytes() for path in tmp_path.glob("st/cells/*/DONE.json")}
    assert 0 < len(done) < 6

    code, out, err = ran(*grid, cwd=tmp_path)
    assert code == 0, err
    report = json.loads(out)
    assert {cell["method"] for cell in report["cells"]} == {
        "soft-labels",
        "cross-entropy",
        "curvenet",
    }
    ids = {(c["method"], c["seed"]): c["cell_id"] for c in report["cells"]}
    for cell_id, content in done.items():
        assert (tmp_path / "st" / "cells" / cell_id / "DONE.json").read_bytes() == content
    own = ids["soft-labels", 0]
    code, out, err = ran("suspects", own, "--storage", "st", "--json", cwd=tmp_path)
    assert code == 0, err
    assert json.loads(out)["samples"] > 100

    (tmp_path / "soft_labels.py").write_text(text + "\n# another comment\n")
    code, out, err = ran("plan", "space.yaml", "--storage", "st", "--json", cwd=tmp_path)
    assert code == 0, err
    cells = json.loads(out)["cells"]
    assert {c["config"]["method"]["name"] for c in cells if not c["done"]} == {"soft-labels"}
    assert sum(c["done"] for c in cells) == 4
    assert {c["cell_id"] for c in cells if c["done"]} < set(ids.values())

    code, out, err = ran(*grid, cwd=tmp_path)
    assert code == 0, err
    new = next(c["cell_id"] for c in json.loads(out)["cells"] if c["method"] == "soft-labels")
    code, out, err = ran("why", new, "--storage", "st", cwd=tmp_path)
    assert code == 0, err
    assert "it was edited after that result was made" in out
    assert CellStore(tmp_path / "st").result(own) is not None


BROKEN_THERE = """
import os, sys
if "default_worker" in sys.argv[0]:
    import only_on_the_driver
"""


@pytest.mark.ray
def test_a_plugin_that_a_worker_cannot_import_costs_only_its_own_cells(tmp_path: Path) -> None:
    (tmp_path / "space.yaml").write_text(SPACE.replace("[0, 1]", "[0]"))
    text = (EXAMPLE / "soft_labels.py").read_text()
    (tmp_path / "soft_labels.py").write_text(f"{text}\n{BROKEN_THERE}")
    words = ("grid", "space.yaml", "--storage", "st", "--max-concurrent", "2")
    code, _, err = ran(*words, cwd=tmp_path)
    assert code == 3, err
    (failed,) = [json.loads(p.read_text()) for p in tmp_path.glob("st/cells/*/FAILED.json")]
    assert failed["kind"] == "import"
    assert re.search(r"soft_labels.py, line \d+: ModuleNotFoundError", failed["error"])
    assert len(list(tmp_path.glob("st/cells/*/DONE.json"))) == 2


def test_the_example_is_a_package_with_an_entry_point_and_a_space_that_plans() -> None:
    import tomllib

    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["curvetune.methods"] == {"soft-labels": "soft_labels"}
    plan = curvetune.plan(EXAMPLE / "space.yaml", storage="none", seeds=[0])
    assert len(plan) == 8
    assert len((EXAMPLE / "soft_labels.py").read_text().splitlines()) < 50


def test_the_loss_of_the_example_is_its_formula() -> None:
    load_plugins([str(EXAMPLE / "soft_labels.py")])
    soft_losses = sys.modules["curvetune_plugin_soft_labels"].soft_losses
    logits = torch.randn(6, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    y = torch.tensor([0, 1, 2, 3, 0, 1])
    log_p = np.log(np.exp(logits.numpy()) / np.exp(logits.numpy()).sum(1, keepdims=True))
    target = 0.7 * np.eye(4)[y.numpy()] + 0.3 / 4
    expected = torch.from_numpy(-(target * log_p).sum(1))
    torch.testing.assert_close(soft_losses(logits, y, 0.3), expected)
    assert CellConfig.model_validate({"method": {"name": "soft-labels"}}).plugins
