"""What is said of an import that failed in a worker, and that it costs only its own cells."""

import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from curvetune.errors import DivergedError
from curvetune.planning.order import Order
from curvetune.store import CellStore
from curvetune.training.failures import failure_kind
from curvetune.training.import_errors import import_words, is_import_error, words_in_log
from curvetune.tune.callbacks import LostTrials
from curvetune.tune.searcher import InStorage, OrderSearcher

ROOT = Path(__file__).parents[1]


def error_of(module: str) -> BaseException:
    """Return what the import of a module raises, as a worker catches it."""
    try:
        importlib.import_module(module)
    except (Exception, SystemExit) as error:
        return error
    raise AssertionError(f"{module} could be imported")


@pytest.mark.parametrize(
    ("files", "culprit", "said"),
    [
        ({}, "user_a", "ModuleNotFoundError: No module named 'user_a'"),
        ({"user_a.py": "x = 1\ndef f(:\n"}, "user_a ({}/user_a.py, line 2)", "SyntaxError: "),
        ({"user_a.py": "\nraise SystemExit(3)"}, "user_a ({}/user_a.py, line 2)", "SystemExit: 3"),
        ({"user_a.py": "import user_b\nuser_b.run", "user_b.py": ""}, "user_b ({}/user_b.py)", ""),
        ({"user_a.py": "import user_b\nuser_b.run", "user_b/x.txt": ""}, "user_b ({}/user_b)", ""),
        (
            {"user_a.py": "from user_b import run", "user_b/__init__.py": ""},
            "user_b",
            "({}/user_b/",
        ),
        ({"user_a.py": "import user_b.run", "user_b.py": ""}, "user_b.run ({}/user_b.py)", ""),
        ({"user_a.py": "from user_b.c.d import x", "user_b.py": ""}, "user_b.c ({}/user_b.py)", ""),
        (
            {"user_a.py": "import user_b.c.d", "user_b/c.py": "", "user_b/__init__.py": ""},
            "user_b.c.d ({}/user_b/c.py)",
            "is not a package",
        ),
        ({"user_a.py": "import user_b", "user_b.py": "1 / 0"}, "user_b ({}/user_b.py, line 1)", ""),
        ({"user_a/__init__.py": "def f(:"}, "user_a ({}/user_a/__init__.py, line 1)", "SyntaxErr"),
    ],
)
def test_the_module_and_its_file_are_named(
    files: dict[str, str],
    culprit: str,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("user_a", "user_b"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    error = error_of("user_a")
    words = import_words(error)  # a worker still has what could be imported
    for name in [name for name in sys.modules if name.startswith("user_")]:
        del sys.modules[name]
    assert is_import_error(error)
    assert failure_kind(error) == "import"
    assert words.startswith(f"cannot import {culprit.format(tmp_path)}")
    assert said.format(tmp_path) in words
    assert "\n" not in words


@pytest.mark.parametrize("error", [DivergedError("nan"), ValueError("x"), AttributeError("y")])
def test_an_error_of_a_run_is_none_of_an_import(error: Exception) -> None:
    def run() -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        run()
    assert not is_import_error(caught.value)
    assert failure_kind(caught.value) != "import"


RAY_SAYS = """Failure # 1 (occurred at 2026-11-27_19-00-06)
The actor died unexpectedly before finishing this task.
RuntimeError: The actor with name ImplicitFunc failed to import on the worker. This may be because \
needed library dependencies are not installed in the worker environment:

Traceback (most recent call last):
  File "/env/ray/_private/function_manager.py", line 696, in _load_actor_class_from_gcs
    actor_class = pickle.loads(pickled_class)
  File "/node/broken/torch/__init__.py", line 17, in <module>
    torch.Thing
AttributeError: module 'torch' has no attribute 'Thing'

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "python/ray/_raylet.pyx", line 2693, in ray._raylet.task_execution_handler
RuntimeError: The actor with name ImplicitFunc failed to import on the worker. This may be
"""


def test_where_ray_itself_cannot_import_its_words_are_read(tmp_path: Path) -> None:
    words = words_in_log(RAY_SAYS)
    assert words is not None
    assert "/node/broken/torch/__init__.py, line 17" in words
    assert words.endswith("AttributeError: module 'torch' has no attribute 'Thing'")
    assert words_in_log("The actor died unexpectedly: it was killed") is None
    assert "does not say why" in str(words_in_log("x failed to import on the worker."))


def test_such_a_trial_is_tried_once_more_and_told_once_for_all(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "error.txt").write_text(RAY_SAYS)
    cells = [f"{k:016x}" for k in range(3)]
    store, order = CellStore(tmp_path), Order(dict.fromkeys(cells))
    lost = LostTrials(OrderSearcher(order, InStorage(tmp_path)), store)
    trials: list[Any] = [
        SimpleNamespace(
            status="ERROR",
            trial_id=f"t{k}",
            config={"cell_id": cell},
            num_failures=2,
            max_failures=3,
            error_file=str(tmp_path / "error.txt"),
        )
        for k, cell in enumerate(cells)
    ]
    lost.on_trial_recover(0, trials, trials[0])
    assert trials[0].max_failures == 1  # Tune goes on while num_failures <= max_failures
    lost.on_step_end(1, trials)
    for cell in cells:
        failure = store.failure(cell)
        assert failure is not None
        assert failure["kind"] == "import"
        assert "node was lost" not in failure["error"]
        assert "module 'torch' has no attribute 'Thing'" in failure["error"]
    assert caplog.text.count("cannot import") == 1


SECTION = """
import sys
from pathlib import Path
from typing import Literal
from curvetune.config import MethodConfig, add_method
IN_WORKER = "default_worker" in sys.argv[0]
{more}
class Section(MethodConfig):
    source = "none"
    name: Literal["{name}"] = "{name}"
add_method(Section)
"""
SCRIPT = """
import json, logging, os, sys
from pathlib import Path
logging.basicConfig(level=logging.WARNING)
here, storage = Path(__file__).parent, Path(sys.argv[1])
sys.path.insert(0, str(here / "elsewhere"))
import beside, exits, missing, rewritten
(here / "rewritten.py").write_text("def f(:")
from curvetune.config import CellConfig
from curvetune.store import CellStore
from curvetune.tune.launch import launch
from curvetune.planning.plan import build_plan
from curvetune.planning.space import Space

def run_cell(cell, digest, dataset, storage, **more):
    store, cell_id = CellStore(storage), cell.cell_id(digest)
    folder = store.folder(cell_id)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(cell.model_dump_json())
    for name in ("history.jsonl", "model.safetensors", "samples.safetensors"):
        (folder / name).touch()
    return store.publish(cell_id, {"accuracy": 0.5})

names = ["beside", "exits", "missing", "rewritten", "cross-entropy"]
cells = [CellConfig.model_validate({"method": {"name": name}, "seed": seed})
         for name in names for seed in (0, 1)]
plan = build_plan(Space("own", tuple(cells)), "d" * 64, is_done=lambda _: False,
                  has_probe=lambda _: False)
assert launch(plan, [1, 2], storage, run_cell=run_cell)
store, found = CellStore(storage), {}
for cell in cells:
    cell_id = cell.cell_id("d" * 64)
    found[f"{cell.method.name} {cell.seed}"] = store.failure(cell_id) or store.result(cell_id)
print(json.dumps(found))
"""


@pytest.mark.ray
def test_what_a_worker_cannot_import_costs_only_the_cells_that_need_it(tmp_path: Path) -> None:
    bodies = {
        "beside": "",  # a method in a module beside the user's script
        "exits": "if IN_WORKER: raise SystemExit('no licence')",
        "elsewhere/missing": "",  # on the driver's path alone
        "rewritten": "",
    }
    folder = tmp_path / "script"
    (folder / "elsewhere").mkdir(parents=True)
    for name, more in bodies.items():
        text = SECTION.format(name=name.rpartition("/")[2], more=more)
        (folder / f"{name}.py").write_text(text)
    (folder / "run.py").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, "-B", str(folder / "run.py"), str(tmp_path / "storage")],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    for seed in (0, 1):
        assert found[f"beside {seed}"]["accuracy"] == 0.5
        assert found[f"cross-entropy {seed}"]["accuracy"] == 0.5
        kinds = {
            name: found[f"{name} {seed}"]["kind"] for name in ("exits", "missing", "rewritten")
        }
        assert set(kinds.values()) == {"import"}
        assert re.search(
            r"exits \(.*/exits.py, line \d+\): .*no licence", found[f"exits {seed}"]["error"]
        )
        assert "No module named 'missing'" in found[f"missing {seed}"]["error"]
        assert f"{folder}/rewritten.py, line 1" in found[f"rewritten {seed}"]["error"]
    for name in ("exits", "missing", "rewritten"):
        assert done.stderr.count(f"cannot import {name}") == 1, done.stderr
