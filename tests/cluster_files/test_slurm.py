"""cluster/slurm.sbatch: a Ray of its own that ends with the job, and the job's exit code."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "cluster" / "slurm.sbatch"
NODES = 2

# What Slurm would be: two nodes, both of them this machine. Signals go on to the tasks.
SRUN = """#!/bin/bash
while [[ $1 == -* ]]; do shift; done
tasks=()
trap 'kill -TERM "${tasks[@]}"' TERM
for rank in 0 1; do SLURM_PROCID=$rank "$@" & tasks+=($!); done
while [[ $(jobs -r) ]]; do wait -n || kill -TERM "${tasks[@]}" 2>/dev/null; done
"""
SCONTROL = """#!/bin/bash
case $1 in
  show) printf 'localhost\\nlocalhost\\n' ;;
  requeue) echo "$2" >> "$SEEN/requeued" ;;
esac
"""
RAY = f"""#!/bin/bash
exec {sys.executable} -W ignore -m ray.scripts.scripts "$@"
"""
# A Ray that only listens, where Ray itself is not what is asked about.
LISTENER = f"""#!{sys.executable}
import os, socket, time
if os.environ["SLURM_PROCID"] == "0":
    server = socket.create_server(("127.0.0.1", int(os.environ["PORT"])))
time.sleep(60)
"""
# A grid that says what it was given and whom it met. It waits for the second node, as --wait does.
GRID = f"""#!{sys.executable}
import json, os, pathlib, signal, sys, time
seen = pathlib.Path(os.environ["SEEN"])
found = {{"arguments": sys.argv[1:], **{{key: os.environ[key] for key in
         ("PORT", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_TMPDIR")}}}}
if "--met" in sys.argv:
    import ray
    ray.init(address=os.environ["RAY_ADDRESS"], log_to_driver=False, logging_level="ERROR")
    while len(ray.nodes()) < {NODES}:
        time.sleep(0.2)
    found["cpus"] = ray.cluster_resources()["CPU"]
signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))  # after Ray's, which exits with 15
(seen / "part").write_text(json.dumps(found))
(seen / "part").rename(seen / "grid.json")
if "--stay" in sys.argv:
    time.sleep(60)
sys.exit(3)
"""


def job_of(tmp_path: Path, ray: str = LISTENER) -> dict[str, str]:
    """Return the environment of a job whose commands are stand-ins, Ray's own if asked for."""
    commands = tmp_path / "venv" / "bin"
    commands.mkdir(parents=True)
    for name, text in {"srun": SRUN, "scontrol": SCONTROL, "ray": ray, "curvetune": GRID}.items():
        (commands / name).write_text(text)
        (commands / name).chmod(0o755)
    seen = tmp_path / "seen"
    seen.mkdir()
    return {
        **{key: value for key, value in os.environ.items() if not key.startswith("RAY_")},
        "HOME": str(tmp_path),
        "SEEN": str(seen),
        "CURVETUNE_VENV": str(tmp_path / "venv"),
        "SLURM_JOB_ID": str(os.getpid()),
        "SLURM_JOB_NODELIST": "node[1-2]",
        "SLURM_CPUS_PER_TASK": "1",
        "SLURM_SUBMIT_DIR": str(tmp_path),
        "RAY_object_store_memory": "100000000",
    }


def processes_of(folder: str) -> list[str]:
    """Return the processes that were started with this Ray's folder in their environment."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if folder.encode() in (entry / "environ").read_bytes():
                found.append((entry / "cmdline").read_text().replace("\0", " "))
        except OSError:  # it ended meanwhile
            continue
    return found


def seen_by_grid(environment: dict[str, str]) -> dict[str, object]:
    return json.loads((Path(environment["SEEN"]) / "grid.json").read_text())


def requeued(environment: dict[str, str]) -> bool:
    return (Path(environment["SEEN"]) / "requeued").exists()


def port_of(environment: dict[str, str]) -> int:
    return 20000 + 4 * (int(environment["SLURM_JOB_ID"]) % 3000)


def preempt(environment: dict[str, str], *arguments: str) -> int:
    """Run the script, send it SIGTERM once its grid is there, and return its exit code."""
    job = subprocess.Popen(["bash", str(SCRIPT), "digits", "--stay", *arguments], env=environment)
    started = time.monotonic()
    while not (Path(environment["SEEN"]) / "grid.json").exists():
        assert job.poll() is None
        assert time.monotonic() - started < 150
        time.sleep(0.1)
    job.send_signal(signal.SIGTERM)
    return job.wait(timeout=60)


@pytest.mark.ray
def test_a_job_has_a_ray_of_its_own_which_ends_with_it(tmp_path: Path) -> None:
    environment = job_of(tmp_path, ray=RAY)
    assert preempt(environment, "--met") == 75
    found = seen_by_grid(environment)
    assert found["cpus"] == NODES
    assert processes_of(str(found["RAY_TMPDIR"])) == []
    assert not Path(str(found["RAY_TMPDIR"])).exists()
    assert not (tmp_path / ".ray").exists()


def test_a_job_exits_as_its_grid_and_leaves_nothing(tmp_path: Path) -> None:
    environment = job_of(tmp_path)
    command = ["bash", str(SCRIPT), "digits", "--storage", "with a space"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 3, done.stdout + done.stderr
    found, address = seen_by_grid(environment), f"127.0.0.1:{port_of(environment)}"
    expected = ["grid", *command[2:], "--address", address, "--wait", "10m"]
    assert found["arguments"] == expected
    assert found["RAY_AUTH_MODE"] == "token"
    assert re.fullmatch("[0-9a-f]{64}", str(found["RAY_AUTH_TOKEN"]))
    assert processes_of(str(found["RAY_TMPDIR"])) == []
    assert not requeued(environment)


def test_two_jobs_have_other_ports_tokens_and_folders(tmp_path: Path) -> None:
    seen = []
    for job_id in ("4711", "4712"):
        environment = {**job_of(tmp_path / job_id), "SLURM_JOB_ID": job_id}
        subprocess.run(["bash", str(SCRIPT), "digits"], env=environment, timeout=60, check=False)
        seen.append(seen_by_grid(environment))
    for key in ("PORT", "RAY_AUTH_TOKEN", "RAY_TMPDIR"):
        assert seen[0][key] != seen[1][key]


def test_a_preempted_job_tells_its_grid_and_goes_back_to_the_queue(tmp_path: Path) -> None:
    environment = job_of(tmp_path)
    assert preempt(environment) == 75
    assert requeued(environment)
    assert processes_of(str(seen_by_grid(environment)["RAY_TMPDIR"])) == []


def test_a_ray_that_does_not_start_is_said_and_no_grid_begins(tmp_path: Path) -> None:
    environment = job_of(tmp_path)
    (tmp_path / "venv" / "bin" / "srun").write_text("#!/bin/bash\nexit 1\n")
    done = subprocess.run(["bash", str(SCRIPT)], env=environment, capture_output=True, text=True)
    assert done.returncode == 5
    assert "Ray did not start on localhost" in done.stderr
    assert not (Path(environment["SEEN"]) / "grid.json").exists()


def faults(text: str) -> list[str]:
    """Return which promises of the story on top the script's text breaks."""
    code = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    rules = {
        "valid": subprocess.run(["bash", "-n"], input=text, text=True, check=False).returncode == 0,
        "ends nobody else's Ray": not re.search(r"ray stop|symmetric-run|pkill|killall", code),
        "token on": "export RAY_AUTH_MODE=token" in code,
        "token not on a command line": not re.search(r"^ *(ray|srun).*TOKEN", code, re.MULTILINE),
        "dashboard closed": "--dashboard-host=127.0.0.1" in code and "0.0.0.0" not in code,
        "ports of its own": "--port=" in code and "SLURM_JOB_ID % " in code,
        "asked to requeue": "#SBATCH --requeue" in text and "scontrol requeue" in code,
        "told 30 s before": any(
            int(s) >= 30 for s in re.findall(r"#SBATCH --signal=B:TERM@(\d+)", text)
        ),
    }
    return [rule for rule, holds in rules.items() if not holds]


def test_the_script_keeps_its_promises() -> None:
    assert faults(SCRIPT.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("\nwait $ray\n", "\nray stop\n"),
        ("RAY_AUTH_MODE=token", "RAY_AUTH_MODE=disabled"),
        ("dashboard-host=127.0.0.1", "dashboard-host=0.0.0.0"),
        ("TERM@120", "TERM@10"),
        ("SLURM_JOB_ID % 3000", "0"),
        ("scontrol requeue", "echo"),
        ("\ndone", "\n"),
    ],
)
def test_a_script_with_a_fault_is_found(old: str, new: str) -> None:
    text = SCRIPT.read_text(encoding="utf-8")
    assert old in text
    assert faults(text.replace(old, new)) != []
