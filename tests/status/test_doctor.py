"""`curvetune doctor`: each check against cases that are made for it, and all of them for real."""

import importlib.metadata
import os
import re
import sqlite3
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import hooks
import pytest
from tiny_cifar import write_cifar
from tracking_helpers import new_tracker

from curvetune.status.doctor import Finding, Subject, examine
from curvetune.status.doctor.backends import (
    authentication_finding,
    database_finding,
    ray_finding,
    tracker,
)
from curvetune.status.doctor.finding import GIB
from curvetune.status.doctor.inquiry import ask
from curvetune.status.doctor.machine import (
    cpu_finding,
    gpu_findings,
    own_cgroups,
    quotas,
    shm_finding,
    sixteen_bits_finding,
)
from curvetune.status.doctor.place import (
    clock,
    clock_finding,
    disk_finding,
    exclusive,
    kind_finding,
    renames,
    temporary_findings,
)
from curvetune.status.doctor.software import _wrong, data
from curvetune.tracking.base import RunSpec


def says(text: str) -> Any:
    return lambda _: [Finding("word", "ok", text)]


def breaks(_: Subject) -> Sequence[Finding]:
    raise ZeroDivisionError("no luck at http://me:hunter2@host")


def hangs(_: Subject) -> Sequence[Finding]:
    time.sleep(60)
    return []


def test_a_check_that_breaks_or_hangs_is_a_line_among_the_others(tmp_path: Path) -> None:
    checks = {"one": says("a"), "bad": breaks, "slow": hangs, "two": says("b")}
    start = time.monotonic()
    one, bad, slow, two = examine(Subject(tmp_path), checks, limit_s=1.0)
    assert time.monotonic() - start < 10
    assert [one.found, two.found] == ["a", "b"]
    assert (bad.name, bad.status) == ("bad", "warn")
    assert "ZeroDivisionError: no luck at http://***@host" in bad.found
    assert (slow.name, slow.status, slow.found) == ("slow", "fail", "no answer within 1 s")


def test_a_library_that_crashes_hangs_or_is_broken_ends_only_the_question(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    fake = tmp_path / "torch.py"
    fake.write_text("import os\nos.kill(os.getpid(), 11)")
    assert "the process ended with code -11" in ask("torch_gpus")["error"]
    fake.write_text("import time\ntime.sleep(60)")
    assert ask("torch_gpus", timeout_s=1.0)["error"].startswith("no answer within 1 s: ")
    fake.write_text("raise ImportError('libcudart.so.12: no such file')")
    answer = ask("torch_gpus")
    assert answer == {"error": "ImportError: libcudart.so.12: no such file"}
    (finding,) = gpu_findings(answer, [], mps=False)
    assert finding.status == "fail"
    assert "pip install" in finding.advice


@pytest.mark.parametrize("name", ["json", "re", "codecs", "functools"])
def test_files_of_the_user_beside_which_doctor_is_asked_do_not_count(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / f"{name}.py").write_text("STEPS = 100")
    monkeypatch.chdir(tmp_path)
    assert "devices" in ask("torch_gpus")


def gpu(free: float = 70, total: float = 80) -> dict[str, Any]:
    return {"name": "NVIDIA X", "free": int(free * GIB), "total": int(total * GIB)}


def driver(mode: str = "Default") -> dict[str, str]:
    return {"name": "NVIDIA X", "driver_version": "550.1", "compute_mode": mode}


def statuses(findings: Sequence[Finding]) -> dict[str, str]:
    return {finding.name: finding.status for finding in findings}


def test_gpus_that_can_be_used_are_counted_and_mps_is_explained() -> None:
    two = {"cuda": "12.8", "devices": [gpu(), gpu(60)], "why": ""}
    first, second = gpu_findings(two, [driver(), driver()], mps=False)
    assert first == Finding("gpus", "ok", "2 × NVIDIA X, driver 550.1; 60.0 of 80.0 GiB free")
    assert (second.name, second.status) == ("mps", "note")
    assert "nvidia-cuda-mps-control -d" in second.advice
    assert statuses(gpu_findings(two, [driver()], mps=True)) == {"gpus": "ok", "mps": "ok"}
    alone = gpu_findings(two, [driver("Exclusive_Process")], mps=False)
    assert statuses(alone) == {"gpus": "ok", "mps": "warn"}


def test_a_gpu_that_others_use_is_a_warning_that_names_it() -> None:
    busy = {"cuda": "12.8", "devices": [gpu(), gpu(5)], "why": ""}
    first, _ = gpu_findings(busy, [driver()], mps=True)
    assert first.status == "warn"
    assert "more than half in use on 1" in first.found


def test_gpus_that_pytorch_cannot_use_fail_for_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    none: dict[str, Any] = {"cuda": None, "devices": [], "why": ""}
    assert statuses(gpu_findings(none, [], mps=False)) == {"gpus": "note"}
    (cpu_only,) = gpu_findings(none, [driver()], mps=False)
    assert cpu_only.status == "fail"
    assert "built for CUDA (pytorch.org)" in cpu_only.advice
    (old,) = gpu_findings(none | {"cuda": "13.0", "why": "driver too old"}, [driver()], mps=False)
    assert "driver too old" in old.found
    assert "CUDA 13.0, the driver is 550.1" in old.advice
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    (hidden,) = gpu_findings(none, [driver()], mps=False)
    assert "unset CUDA_VISIBLE_DEVICES" in hidden.advice


def test_cpus_that_ray_would_count_and_may_not_use_are_a_warning() -> None:
    assert cpu_finding(8, 8, None, None).status == "ok"
    assert cpu_finding(64, 64, 4.0, 4.0).found == "4 of 64 may be used, and Ray knows it"
    slurm = cpu_finding(64, 8, None, None)  # bound to some of them, which Ray does not ask
    assert (slurm.status, slurm.found) == ("warn", "8 of 64 may be used, but Ray counts 64")
    assert "--max-concurrent 8" in slurm.advice
    inner = cpu_finding(64, 64, 2.5, None)  # a group below the top, where Ray does not look
    assert (inner.status, "--max-concurrent 2" in inner.advice) == ("warn", True)
    assert cpu_finding(2, 2, 0.5, 0.5).status == "ok"  # Ray starts with one


def test_a_cpu_that_computes_in_16_bits_is_told_and_so_is_one_that_does_not() -> None:
    has = sixteen_bits_finding({"flags", "avx512f", "avx512_bf16"})
    assert (has.status, "precision=bfloat16-onednn" in has.advice) == ("note", True)
    lacks = sixteen_bits_finding({"flags", "avx512f", "avx2"})
    assert (lacks.status, lacks.advice) == ("ok", "")
    assert "saves nothing" in lacks.found


def test_the_smallest_quota_of_the_groups_around_a_process_counts(tmp_path: Path) -> None:
    (tmp_path / "v2" / "a" / "b").mkdir(parents=True)
    (tmp_path / "v2" / "cpu.max").write_text("max 100000\n")
    (tmp_path / "v2" / "a" / "cpu.max").write_text("250000 100000\n")
    (tmp_path / "v2" / "a" / "b" / "cpu.max").write_text("400000 100000\n")
    (tmp_path / "cgroup2").write_text("0::/a/b\n")
    assert quotas(own_cgroups(tmp_path / "v2", tmp_path / "cgroup2")) == 2.5
    assert quotas([tmp_path / "v2"]) is None
    job = tmp_path / "v1" / "cpu" / "job"
    job.mkdir(parents=True)
    (job / "cpu.cfs_quota_us").write_text("300000")
    (job / "cpu.cfs_period_us").write_text("100000")
    (tmp_path / "v1" / "cpu" / "cpu.cfs_quota_us").write_text("-1")
    (tmp_path / "v1" / "cpu" / "cpu.cfs_period_us").write_text("100000")
    (tmp_path / "cgroup1").write_text("4:memory:/job\n3:cpu,cpuacct:/job\n0::/\n")
    assert quotas(own_cgroups(tmp_path / "v1", tmp_path / "cgroup1")) == 3.0
    assert quotas([tmp_path / "v1"]) is None
    assert own_cgroups(tmp_path, tmp_path / "none") == []


def test_shared_memory_is_enough_where_ray_uses_it() -> None:
    docker = shm_finding(64 << 20, 32 * GIB)
    assert docker.status == "warn"
    assert "--shm-size=" in docker.advice
    assert shm_finding(16 * GIB, 32 * GIB).status == "ok"
    assert shm_finding(12 * GIB, 1000 * GIB).status == "ok"  # Ray then takes what is there


def test_little_room_warns_and_none_fails() -> None:
    assert disk_finding(100 * GIB, None).status == "ok"
    assert disk_finding(2 * GIB, None).status == "warn"
    assert disk_finding(100 << 20, None).status == "fail"
    assert disk_finding(100 * GIB, 12).status == "warn"
    assert temporary_findings("/tmp", 0.5) == []
    assert statuses(temporary_findings("/tmp", 0.97)) == {"disk": "warn"}


def test_each_kind_of_file_system_has_its_word() -> None:
    words = {kind: kind_finding(kind).status for kind in ("xfs", "nfs4", "9p", "tmpfs", None)}
    assert words == {"xfs": "ok", "nfs4": "note", "9p": "warn", "tmpfs": "warn", None: "note"}
    assert kind_finding("fuse.unheard").status == "warn"


def test_leases_and_publication_work_in_a_real_folder_which_stays_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    assert exclusive(tmp_path / "work") is None
    assert sorted(p.name for p in (tmp_path / "work").iterdir()) == ["linked", "one"]
    for check in (renames, clock):
        (finding,) = check(Subject(tmp_path / "work" / "not" / "yet"))
        assert finding.status == "ok"
    assert sorted(p.name for p in (tmp_path / "work").iterdir()) == ["linked", "one"]


def test_a_storage_that_cannot_be_written_fails(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (finding,) = renames(Subject(tmp_path / "file" / "in"))
    assert (finding.status, "--storage" in finding.advice) == ("fail", True)
    assert statuses(renames(Subject(Path("s3://bucket")))) == {"renames": "fail"}
    assert statuses(clock(Subject(Path("/proc")))) == {"clock": "note"}


def test_clocks_that_differ_are_a_warning() -> None:
    assert clock_finding(-0.2).status == "ok"
    ahead, behind = clock_finding(90.0), clock_finding(-90.0)
    assert (ahead.status, behind.status) == ("warn", "warn")
    assert "90 s ahead" in ahead.found
    assert "90 s behind" in behind.found


@pytest.fixture
def token(tmp_path: Path) -> Path:
    path = tmp_path / "auth_token"
    path.write_text("5f0c1d2e3b4a5968")
    path.chmod(0o600)
    return path


def test_authentication_of_a_cluster_that_is_started_here(token: Path) -> None:
    none = token.parent / "none"
    assert authentication_finding(None, True, none, {}).status == "ok"
    assert authentication_finding(None, False, none, {}).status == "warn"  # Ray before 2.59
    assert authentication_finding(None, False, none, {"RAY_AUTH_MODE": "token"}).status == "ok"
    assert authentication_finding(None, True, token, {"RAY_AUTH_MODE": "disabled"}).status == "warn"
    left = authentication_finding(None, True, token, {})
    assert (left.status, "next `ray start --head` asks for it" in left.found) == ("note", True)
    token.chmod(0o644)
    open_token = authentication_finding(None, True, token, {})
    assert (open_token.status, "chmod 600" in open_token.advice) == ("warn", True)


CLOSED = """
import os, sys
from pathlib import Path
from curvetune import data
from curvetune.status.doctor.backends import authentication_finding
os.setuid(54321)
print(authentication_finding(None, True, Path(sys.argv[1], "auth_token"), {}).status)
print(data.train_labels("cifar10", None))
"""


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_a_home_folder_that_is_closed_to_this_user_is_as_good_as_empty(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    (home / "auth_token").touch()
    done = subprocess.run(
        [sys.executable, "-c", CLOSED, str(home)],
        capture_output=True,
        text=True,
        env=os.environ | {"CURVETUNE_CACHE": str(home)},
        check=False,
    )
    assert (done.stdout, done.returncode) == ("ok\nNone\n", 0), done.stderr


def test_authentication_at_a_cluster(token: Path) -> None:
    none, there = token.parent / "none", "host:6379"
    assert authentication_finding(there, True, none, {}).status == "warn"
    # Ray sends a token that it finds only to `auto`
    assert authentication_finding(there, True, token, {}).status == "warn"
    assert authentication_finding("auto", True, token, {}).status == "ok"
    assert authentication_finding(there, True, none, {"RAY_AUTH_MODE": "token"}).status == "fail"
    mine = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "abc"}
    assert authentication_finding(there, True, none, mine).status == "ok"
    off = authentication_finding(there, True, token, mine | {"RAY_AUTH_MODE": "disabled"})
    assert off.status == "warn"
    gone = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(none)}
    assert authentication_finding(there, True, token, gone).status == "fail"


def test_what_ray_answers_is_told() -> None:
    two = {"seconds": 1.0, "nodes": [{"CPU": 8.0, "GPU": 4.0}, {"CPU": 8.0}]}
    assert ray_finding(two, "h:1").found.endswith("; h:1: 2 nodes, 16 CPUs, 4 GPUs")
    bad = ray_finding({"error": "BackendError: no Ray cluster"}, "h:1")
    assert (bad.status, "no Ray cluster" in bad.found) == ("fail", True)


def test_a_database_of_mlflow_is_checked_and_left_as_it_is(tmp_path: Path) -> None:
    assert statuses(tracker(Subject(tmp_path))) == {"tracker": "ok"}
    assert list(tmp_path.iterdir()) == []
    new_tracker(tmp_path).run(RunSpec("e", ("key", "value"), "n", None))
    database = tmp_path / "mlflow.db"
    before = database.read_bytes()
    assert statuses(tracker(Subject(tmp_path))) == {"tracker": "ok"}
    assert database.read_bytes() == before
    with sqlite3.connect(database) as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'of another MLflow'")
    connection.close()
    (other,) = tracker(Subject(tmp_path))
    assert (other.status, "made by another MLflow" in other.found) == ("fail", True)
    broken = database_finding("db", {"error": "DatabaseError: file is not a database"})
    assert (broken.status, "delete it" in broken.advice) == ("fail", True)


@pytest.mark.parametrize(("version", "status"), [("3.5.0", "ok"), ("2.9.2", "warn")])
def test_a_server_of_another_major_version_is_a_warning(
    version: str, status: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(request: hooks.Request) -> tuple[int, bytes]:
        return 200, version.encode() if request.path == "/version" else b'{"experiments": []}'

    with hooks.listening(answer) as server:
        uri = f"http://me:hunter2@127.0.0.1:{server.port}"
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        (finding,) = tracker(Subject(tmp_path))
        assert finding.status == status
        assert f"http://***@127.0.0.1:{server.port}: MLflow {version}" in finding.found
        monkeypatch.delenv("MLFLOW_TRACKING_URI")
        _, note = tracker(Subject(tmp_path, tracking_uri=uri))
    assert (note.status, "MLFLOW_TRACKING_PASSWORD" in note.advice) == ("note", False)
    assert "command lines" in note.found


def test_packages_out_of_their_range_fail_with_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "METADATA").write_text(
        "Name: curvetune\nRequires-Python: <3\nRequires-Dist: numpy>=1.0\n"
        "Requires-Dist: ray[data,tune]<1\nRequires-Dist: none-such-package>=2\n"
        'Requires-Dist: ruff<0.0.1; extra == "dev"\n'
    )
    found = list(_wrong(importlib.metadata.Distribution.at(tmp_path)))
    assert {finding.status for finding in found} == {"fail"}
    python, ray, missing = found
    assert python.found.endswith("allowed is <3")
    assert re.match(r"ray 2\..*, allowed is <1", ray.found)
    assert missing.found == "none-such-package is not installed, allowed is >=2"
    assert missing.advice == "pip install 'none-such-package>=2'"


def test_the_sources_of_data_are_found_by_their_digest(tmp_path: Path) -> None:
    found = {f.found.partition(":")[0]: f for f in data(Subject(tmp_path))}
    assert found["digits"].status == "ok"
    assert "1,297 training images, digest " in found["digits"].found
    nothing = data(Subject(tmp_path, data_dir=tmp_path))
    assert nothing[0].status == "fail"
    assert f"--data-dir {tmp_path} has none of cifar10, " in nothing[0].found
    assert {finding.status for finding in nothing[1:]} == {"ok", "note"}
    write_cifar(tmp_path / "cifar10")
    assert {f.found.partition(":")[0] for f in data(Subject(tmp_path, data_dir=tmp_path))} > {
        "digits",
        "cifar10",
    }
