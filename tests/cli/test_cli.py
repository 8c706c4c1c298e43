import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import curvetune
from curvetune.errors import BackendError, ConfigError
from curvetune.planning.options import check_share, parse_launch
from curvetune.planning.resources import LaunchOptions
from curvetune.planning.selection import parse_names, parse_seeds, parse_set

HEAVY = ("torch", "ray", "mlflow", "polars", "matplotlib", "sklearn")
# What the installed command does, and then which heavy packages it loaded, on stderr.
COMMAND = f"""
import sys
from curvetune.cli import main
try:
    main()
finally:
    print("loaded:", *sorted(set({HEAVY!r}) & set(sys.modules)), file=sys.stderr)
"""

SPACE = """
base: {data: {name: digits}, model: {name: resnet8}}
grid:
  imbalance: [1, 10]
  noise_rate: [0.0, 0.4]
  seed: [0]
  method:
    - {name: curvenet, skip_layers: [0, 1, 2, 3]}
"""


def curvetune_command(*arguments: str, cwd: Path) -> tuple[int, str, str, str]:
    """Return the exit code, stdout, stderr and the heavy packages that were loaded."""
    environment = {key: value for key, value in os.environ.items() if "CURVETUNE" not in key}
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=environment | {"COLUMNS": "100"},
        timeout=60,
        check=False,
    )
    said, _, loaded = done.stderr.rpartition("loaded:")
    return done.returncode, done.stdout, said, loaded.strip()


@pytest.fixture
def space(tmp_path: Path) -> str:
    path = tmp_path / "trial.yaml"
    path.write_text(SPACE)
    return str(path)


def children_seconds() -> float:
    """Return the processor time of finished child processes: a busy machine does not count."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def test_help_and_version_answer_at_once(tmp_path: Path) -> None:
    start = children_seconds()
    code, out, _, loaded = curvetune_command("--help", cwd=tmp_path)
    assert children_seconds() - start < 2
    assert (code, loaded) == (0, "")
    assert {"grid", "ablate", "plan", "status", "report", "methods", "ui"} <= set(out.split())
    assert curvetune_command("--version", cwd=tmp_path)[1] == f"curvetune {curvetune.__version__}\n"


def test_help_loads_neither_numpy_nor_pydantic(tmp_path: Path) -> None:
    # The 0.3 s that these two take are two thirds of what `--help` took with them.
    ask = "import sys, curvetune.cli; print(*{'numpy', 'pydantic', 'torch'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", ask], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == ""


@pytest.mark.parametrize("command", ["grid", "ablate", "plan"])
def test_each_command_has_help_without_loading_anything(command: str, tmp_path: Path) -> None:
    code, out, _, loaded = curvetune_command(command, "--help", cwd=tmp_path)
    assert (code, loaded) == (0, "")
    for option in ("--methods", "--seeds", "--profile", "--set", "--data-dir", "--storage"):
        assert option in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["grid", "digit"], "unknown search space 'digit' (did you mean 'digits'?)"),
        (["grid", "none.yaml"], "search space 'none.yaml': there is no such file"),
        (["grid", "digits", "--set", "imbalance=0.5"], "bias.imbalance: Input should be greater"),
        (["grid", "digits", "--set", "imbalance"], "--set 'imbalance': write KEY=VALUE"),
        (["grid", "digits", "--seeds", "3-1"], "--seeds '3-1': '3-1' counts down"),
        (["grid", "digits", "--methods", "curvnet"], "(did you mean 'curvenet'?)"),
        (["grid", "digits", "--profile", "smok"], "(did you mean 'smoke'?)"),
        (["grid", "digits", "--gpus-per-trial", "1.5"], "--gpus-per-trial 1.5: allowed are 0 to 1"),
        (["grid", "digits", "--address", "ray://host:1"], "Ray Client and dashboard addresses"),
        (["grid", "digits", "--set", "data.name=[digits, cifar10]"], "one source of data"),
        (["grid", "digits", "--max-concurrent", "0"], "Invalid value"),
        (["ablate", "skip-layer"], "unknown ablation 'skip-layer'"),
        (["plan", "digits", "--storag", "x"], "No such option"),
        (["nonsense"], "No such command"),
    ],
)
def test_a_mistake_exits_2_at_once_before_anything_heavy_is_loaded(
    arguments: list[str], message: str, tmp_path: Path
) -> None:
    start = children_seconds()
    code, out, said, loaded = curvetune_command(*arguments, cwd=tmp_path)
    assert children_seconds() - start < 2
    assert (code, out, loaded) == (2, "", "")
    assert message in said
    assert "Traceback" not in said
    assert list(tmp_path.iterdir()) == []


def test_a_storage_that_cannot_be_written_exits_5(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    code, _, said, _ = curvetune_command("grid", "digits", "--storage", "file/in", cwd=tmp_path)
    assert code == 5
    assert "cannot be written" in said


def test_plan_shows_that_four_values_of_skip_layers_train_one_probe(
    space: str, tmp_path: Path
) -> None:
    fixed = ["--set", "imbalance=10", "--set", "noise_rate=0.4"]
    code, out, _, _ = curvetune_command("plan", space, *fixed, cwd=tmp_path)
    assert code == 0
    assert "would train 1 probe and 4 cells; nothing was started" in out
    (row,) = [line for line in out.splitlines() if "0.4 uniform_prop" in line]
    assert row.replace("│", " ").split() == ["10", "0.4", "uniform_prop", "0", "4", "0", "1", "4"]
    assert not (tmp_path / "curvetune-results").exists()


def plan_json(*arguments: str, cwd: Path) -> dict[str, Any]:
    code, out, said, _ = curvetune_command("plan", *arguments, "--json", cwd=cwd)
    assert code == 0, said
    plan: dict[str, Any] = json.loads(out)
    return plan


def test_plan_json_names_cells_and_probes(space: str, tmp_path: Path) -> None:
    plan = plan_json(space, cwd=tmp_path)
    assert plan["schema_version"] == 1
    assert plan["grid"] == "trial"
    assert (plan["cells_total"], plan["cells_done"], plan["cells_to_run"]) == (16, 0, 16)
    assert (plan["probes_stored"], plan["probes_to_run"]) == (0, 4)
    assert {len(probe["cells"]) for probe in plan["probes"]} == {4}
    assert {cell["probe_id"] for cell in plan["cells"]} == {p["probe_id"] for p in plan["probes"]}


def test_plan_says_the_price_without_pytorch_and_what_nobody_knows_as_null(
    space: str, tmp_path: Path
) -> None:
    code, out, _, loaded = curvetune_command("plan", space, "--json", cwd=tmp_path)
    assert (code, loaded) == (0, "")
    price = json.loads(out)["price"]
    assert (price["hours"], price["unknown_runs"]) == (None, 20)
    assert price["probe_sharing"]["probe_runs_saved"] == 12
    assert price["disk"]["fits"] is True
    code, out, _, _ = curvetune_command("plan", space, cwd=tmp_path)
    assert "16 cells share 4 probes, which saves 12 probe runs" in out
    assert "--calibrate" in out


def test_calibrating_another_device_than_this_machines_is_refused(
    space: str, tmp_path: Path
) -> None:
    arguments = ["plan", space, "--calibrate", "--device", "another"]
    code, _, said, _ = curvetune_command(*arguments, cwd=tmp_path)
    assert code == 2
    assert "--calibrate measures the device of this machine, not --device another" in said


def test_no_path_changes_a_cell(space: str, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    here = plan_json(space, cwd=tmp_path)
    there = plan_json(
        *[space, "--storage", "other", "--data-dir", "nowhere"], cwd=tmp_path / "elsewhere"
    )
    for plan in (here, there):
        del plan["price"]  # has the bytes that are free
    assert here == there


def test_ranges_and_lists_of_seeds() -> None:
    assert parse_seeds("0,1,2") == (0, 1, 2)
    assert parse_seeds("0-4") == (0, 1, 2, 3, 4)
    assert parse_seeds("0-2, 7,1") == (0, 1, 2, 7)
    assert parse_seeds("") == ()
    for text in ("a", "-1", "1-", "2-1", "1.5"):
        with pytest.raises(ConfigError, match="--seeds"):
            parse_seeds(text)


def test_names_are_taken_once() -> None:
    assert parse_names(" focal,curvenet ,focal,") == ("focal", "curvenet")


def test_set_splits_at_the_first_equals_sign() -> None:
    assert parse_set(["imbalance=20", "data.name=a=b"]) == {"imbalance": "20", "data.name": "a=b"}
    with pytest.raises(ConfigError, match="given twice"):
        parse_set(["seed=1", "seed=2"])


def test_shares_are_parts_of_a_device_or_whole_devices() -> None:
    for value in (None, 0.0, 0.25, 1.0, 2.0):
        check_share("--gpus-per-trial", value, least=0.0)
    for value in (-1.0, 1.5):
        with pytest.raises(ConfigError, match="allowed are 0 to 1"):
            check_share("--gpus-per-trial", value, least=0.0)
    options = ("auto", 0.5, None, 3, 5, 60.0)
    assert parse_launch(*options) == LaunchOptions(*options)


def test_an_address_where_nobody_listens_is_a_backend_error() -> None:
    from curvetune.tune.cluster import connected

    with pytest.raises(BackendError, match=r"127\.0\.0\.1:1: no Ray"), connected("127.0.0.1:1"):
        pass
