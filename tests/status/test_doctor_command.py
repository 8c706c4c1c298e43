"""`curvetune doctor`, as it is typed."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from curvetune.status.doctor import CHECKS


def doctor(*arguments: str, cwd: Path) -> tuple[int, str, str, float]:
    """Return the exit code, stdout, stderr, and the seconds that it took."""
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", "from curvetune.cli import main; main()", "doctor", *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, "COLUMNS": "100"},
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr, time.monotonic() - start


def test_the_command_checks_everything_here_in_seconds_and_changes_nothing(tmp_path: Path) -> None:
    code, out, said, seconds = doctor("--json", "--address", "127.0.0.1:1", cwd=tmp_path)
    result = json.loads(out)
    assert (code, result["schema_version"], said) == (5, 1, "")
    names = [check["name"] for check in result["checks"]]
    assert [name for name in dict.fromkeys(names) if name != "mps"] == list(CHECKS)
    (ray,) = [check for check in result["checks"] if check["name"] == "ray"]
    assert ray["status"] == "fail"
    assert "127.0.0.1:1" in ray["found"]
    assert all(c["advice"] for c in result["checks"] if c["status"] in ("warn", "fail"))
    for status in ("ok", "note", "warn", "fail"):
        assert result[status] == [check["status"] for check in result["checks"]].count(status)
    assert seconds < 45
    assert list(tmp_path.iterdir()) == []


def test_the_exit_code_is_0_where_nothing_failed_and_each_line_says_what_to_do(
    tmp_path: Path,
) -> None:
    code, out, said, _ = doctor(cwd=tmp_path)
    failed = re.search(r"(\d+) fail$", out)
    assert failed is not None
    assert code == (5 if int(failed[1]) else 0)
    assert re.search(r"^ok +ray +2\.", out, re.MULTILINE)
    assert all(line.startswith("checking: ") for line in said.splitlines())


@pytest.mark.parametrize("options", [["--address", "ray://host:1"], ["--storag", "x"]])
def test_wrong_usage_exits_2_at_once(options: list[str], tmp_path: Path) -> None:
    code, out, _, _ = doctor(*options, cwd=tmp_path)
    assert (code, out) == (2, "")


@pytest.mark.ray
def test_a_real_cluster_is_reached_and_counted(tmp_path: Path) -> None:
    from ray.cluster_utils import Cluster

    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 3, "include_dashboard": False}
    )
    try:
        _, out, _, _ = doctor("--json", "--address", str(cluster.address), cwd=tmp_path)
    finally:
        cluster.shutdown()
    (ray,) = [check for check in json.loads(out)["checks"] if check["name"] == "ray"]
    assert (ray["status"], ray["found"].endswith("1 node, 3 CPUs, 0 GPUs")) == ("ok", True)
