"""What travels with a grid that is sent, what never does, and by which id it is known."""

import os
import shlex
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

import curvetune
from curvetune.cli import app
from curvetune.errors import ConfigError
from curvetune.jobs.inside import check_lasting
from curvetune.jobs.submission import Order, Where, make_order
from curvetune.planning.selection import parse_selection
from curvetune.planning.space import load_space

PACKAGE = Path(curvetune.__file__).parent
PLUGIN = """
from typing import Literal, ClassVar
from curvetune.plugins import MethodConfig, method
__version__ = "1"
class SentConfig(MethodConfig):
    name: Literal["{name}"] = "{name}"
    source: ClassVar[str] = "this test"
@method(SentConfig)
def build(config, parts):
    raise NotImplementedError
"""
SPACE = """
# a comment
plugins: [{plugin}]
base: {{data: {{name: digits}}, allocate: {{lr: 1e-2, epochs: 3}}}}
grid:
  noise_rate: [0.0, .4]
  method: [{{name: from-space}}, {{name: cross-entropy}}]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the upload is made."""
    made = tmp_path / "upload"
    made.mkdir()
    return made


def order(
    folder: Path,
    space: str = "digits",
    *,
    seeds: str = "0",
    plugins: tuple[str, ...] = (),
    storage: str = "/mnt/shared/results",
    data_dir: str | None = None,
    on_bad: str = "fail",
    options: tuple[str, ...] = (),
    variables: tuple[str, ...] = (),
    arguments: tuple[str, ...] = ("submit", "digits"),
) -> Order:
    selection = parse_selection(space, "", seeds, "smoke", (), plugins)
    where = Where(storage, data_dir, on_bad)
    return make_order(folder, selection, where, options, variables, arguments)


def files(folder: Path) -> dict[str, int]:
    found = [path for path in folder.rglob("*") if not path.is_dir()]
    return {path.relative_to(folder).as_posix(): path.stat().st_size for path in found}


def test_the_code_the_space_and_the_plugins_travel_and_nothing_else(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    for name in (".venv/bin/python", "curvetune-results/DONE.json", "data/cifar.bin", ".env"):
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        (here / name).write_bytes(b"x" * 1000)
    (here / "sent_by_option.py").write_text(PLUGIN.format(name="by-option"))
    (tmp_path / "beside_space.py").write_text(PLUGIN.format(name="from-space"))
    (here / "mine.yaml").write_text(SPACE.format(plugin="../beside_space.py"))
    monkeypatch.chdir(here)

    order(folder, "mine.yaml", plugins=("sent_by_option.py",))

    found = files(folder)
    code = {name for name in found if name.startswith("code/")}
    assert found.keys() - code == {
        "files/spaces/mine.yaml",
        "files/plugins/sent_by_option.py",
        "files/plugins/beside_space.py",
    }
    tracked = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "curvetune", "search_spaces"],
        capture_output=True,
        text=True,
        check=True,
        cwd=PACKAGE.parent,
    ).stdout.split()
    there = {name.replace("search_spaces/", "curvetune/search_spaces/") for name in tracked}
    assert {name.removeprefix("code/") for name in code} == there
    assert sum(found.values()) < 3_000_000


def test_what_travels_makes_the_same_cells_there(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "beside_space.py").write_text(PLUGIN.format(name="from-space"))
    space = tmp_path / "mine.yaml"
    space.write_text(SPACE.format(plugin=tmp_path / "beside_space.py"))
    words = shlex.split(order(folder, str(space)).entrypoint)
    here = load_space(str(space), profile="smoke", seeds=(0,)).cells

    monkeypatch.chdir(folder / "files")
    (tmp_path / "beside_space.py").unlink()
    there = load_space(
        words[words.index("grid") + 1],
        profile="smoke",
        seeds=(0,),
        plugins=[words[words.index("--plugin") + 1]],
    )
    assert [cell.cell_id("data") for cell in there.cells] == [c.cell_id("data") for c in here]
    assert len(here) == 4
    assert yaml.safe_load(Path("spaces/mine.yaml").read_text())["base"]["allocate"]["epochs"] == 3


def test_the_code_that_travels_runs_by_itself(folder: Path) -> None:
    sent = order(folder)
    (code,) = sent.environment["py_modules"]
    done = subprocess.run(
        [sys.executable, "-c", "import curvetune; print(curvetune.__file__)"],
        cwd=sent.environment["working_dir"],
        env={**os.environ, "PYTHONPATH": str(Path(code).parent)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert Path(done.stdout.strip()).parent == Path(code)


def test_a_module_that_is_a_plugin_travels_with_its_package(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "sent_package"
    package.mkdir()
    (package / "__init__.py").write_text("from sent_package import inner\n__version__ = '1'\n")
    (package / "inner.py").write_text(PLUGIN.format(name="of-module"))
    monkeypatch.syspath_prepend(str(tmp_path))
    sent = order(folder, plugins=("sent_package",))
    assert "--plugin sent_package" in sent.entrypoint
    found = files(folder / "files")
    assert {"sent_package/__init__.py", "sent_package/inner.py"} < found.keys()


def test_the_same_grid_has_the_same_id_and_another_has_another(tmp_path: Path) -> None:
    made = iter(range(100))

    def first(**changed: object) -> str:
        folder = tmp_path / str(next(made))
        folder.mkdir()
        return order(folder, **changed).first  # type: ignore[arg-type]

    same = first()
    assert same.startswith("curvetune-digits-")
    assert first(options=("--max-concurrent", "2")) == same
    assert first(storage="/mnt//shared/./results/") == same
    assert first(variables=("A=1",)) == same
    others = [
        first(seeds="1"),
        first(storage="/mnt/shared/other"),
        first(data_dir="/data"),
        first(on_bad="skip"),
    ]
    assert len({same, *others}) == 5


def test_the_head_runs_the_command_that_was_typed_with_its_own_places(folder: Path) -> None:
    sent = order(
        folder,
        data_dir="/data/my images",
        options=("--seeds", "0", "--set", "imbalance=[1, 20]"),
        arguments=("submit", "digits", "--storage", "/mnt/shared/results"),
    )
    assert shlex.split(sent.entrypoint) == [
        *("exec", "python", "-m", "curvetune", "grid", "spaces/digits.yaml"),
        *("--seeds", "0", "--set", "imbalance=[1, 20]"),
        *("--storage", "/mnt/shared/results", "--address", "auto"),
        *("--data-dir", "/data/my images"),
    ]
    typed = "curvetune submit digits --storage /mnt/shared/results"
    assert sent.environment["env_vars"]["CURVETUNE_SUBMITTED"] == typed
    assert sent.about["curvetune_command"] == typed


def test_a_job_that_is_stopped_has_more_time_than_a_preempted_grid(folder: Path) -> None:
    from curvetune.tune.stopping import GRACE_S

    variables = order(folder).environment["env_vars"]
    assert variables["RAY_JOB_STOP_SIGNAL"] == "SIGINT"
    assert float(variables["RAY_JOB_STOP_WAIT_TIME_S"]) > GRACE_S


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"storage": "results"}, "--storage results: is relative"),
        ({"data_dir": "./images"}, "--data-dir ./images: is relative"),
        ({"on_bad": "ask"}, "--on-bad"),
        ({"variables": ("A",)}, "write NAME=VALUE"),
        ({"variables": ("WANDB_API_KEY=abcdefgh",)}, "--env WANDB_API_KEY: is a secret"),
        ({"variables": ("URI=http://me:hunter22@host",)}, "--env URI: is a secret"),
        ({"variables": ("PYTHONPATH=/x",)}, "decides how the job runs"),
        ({"variables": ("RAY_JOB_STOP_SIGNAL=SIGTERM",)}, "decides how the job runs"),
        ({"options": ("--tracking-uri", "http://me:hunter22@host")}, "has a secret in it"),
        ({"options": ("--notify", "https://hooks.org/T/hunter22")}, "--notify '$HOOK'"),
    ],
)
def test_what_cannot_be_sent_is_refused_before_anything_is(
    folder: Path, changed: dict[str, object], words: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        order(folder, **changed)  # type: ignore[arg-type]
    assert words in str(caught.value)
    assert "hunter22" not in str(caught.value)
    assert "abcdefgh" not in str(caught.value)


def test_a_web_hook_is_named_by_a_variable_of_the_head(folder: Path) -> None:
    sent = order(folder, options=("--notify", "$HOOK"))
    shown = subprocess.run(
        ["sh", "-c", sent.entrypoint.replace("exec python", "printf '%s\\n'")],
        env={"HOOK": "https://hooks.org/a b"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    assert shown[shown.index("--notify") + 1] == "https://hooks.org/a b"


def test_nothing_that_ray_logs_has_a_secret_of_this_environment(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secrets = {
        "RAY_AUTH_TOKEN": "tokentokentoken123",
        "AWS_SECRET_ACCESS_KEY": "keykeykey/456",
        "MLFLOW_TRACKING_PASSWORD": "hunter22hunter22",
    }
    for name, value in secrets.items():
        monkeypatch.setenv(name, value)
    typed = ("submit", "digits", "--notify", "https://hooks.org/T/hunter33")
    sent = order(folder, arguments=typed)
    text = repr((sent.entrypoint, sent.environment, sent.about))
    text += "".join(path.read_text() for path in (folder / "files").rglob("*.yaml"))
    assert [value for value in [*secrets.values(), "hunter33"] if value in text] == []


@pytest.mark.parametrize(
    "folder_of_ray",
    [
        "ray/session_2026-11-28_06-33-36_460694_28609/runtime_resources/working_dir_files/a",
        "ray/session_2026-11-28_06-33-36_460694_28609",
    ],
)
def test_trial_12_a_grid_refuses_a_storage_in_the_folder_of_a_ray_session(
    folder_of_ray: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / folder_of_ray
    here.mkdir(parents=True)
    monkeypatch.chdir(here)
    monkeypatch.delenv("CURVETUNE_STORAGE", raising=False)
    done = CliRunner().invoke(app, ["grid", "digits", "--profile", "smoke"])
    assert isinstance(done.exception, ConfigError)
    assert "goes with its cluster" in str(done.exception)
    assert list(here.iterdir()) == []
    check_lasting(tmp_path / "results")
    check_lasting("s3://bucket/results")
    check_lasting(Path("s3://bucket/results"))


def submitted(*words: str) -> str:
    done = CliRunner().invoke(app, ["submit", *words])
    assert isinstance(done.exception, ConfigError), done.output
    return str(done.exception)


def test_submit_asks_for_a_storage_of_the_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CURVETUNE_STORAGE", raising=False)
    at = ("--address", "http://localhost:1")
    assert "--storage is needed" in submitted("digits", *at)
    assert "is relative" in submitted("digits", "--storage", "here", *at)


def test_submit_refuses_what_grid_refuses_before_it_asks_the_cluster() -> None:
    at = ("--address", "http://localhost:1", "--storage", "/mnt/shared/results")
    assert "unknown search space" in submitted("digitz", *at)
    assert "--gpus-per-trial 1.5" in submitted("digits", "--gpus-per-trial", "1.5", *at)
    assert "unknown method" in submitted("digits", "--methods", "curvenot", *at)


def test_a_database_of_this_machine_is_no_tracker_of_the_cluster(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        words = ["submit", "digits", "--storage", "/mnt/shared/results"]
        words += ["--address", f"http://127.0.0.1:{free.getsockname()[1]}"]
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "my-runs")
        assert "is not sent" in CliRunner().invoke(app, words).output
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://mlflow.example.org")
        assert "is not sent" not in CliRunner().invoke(app, words).output


def test_submit_has_every_option_of_grid_but_one() -> None:
    def options(name: str) -> set[str]:
        from typer.main import get_command

        command = get_command(app).commands[name]  # type: ignore[attr-defined]
        return {option for parameter in command.params for option in parameter.opts}

    # Ray keeps stdout and stderr in one log, so that no JSON could be told from the rest
    assert options("grid") - options("submit") == {"--json"}
