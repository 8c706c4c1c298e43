"""cluster/compose.yaml: fields that Compose knows, nothing open, no secret in a file, no root."""

import copy
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

CLUSTER = Path(__file__).parents[2] / "cluster"
FILE = CLUSTER / "compose.yaml"
EXAMPLE = CLUSTER / "compose.env.example"
SCHEMA = yaml.safe_load((Path(__file__).parent / "schemas" / "compose.yaml").read_text())
SECRET = re.compile("PASSWORD|SECRET|TOKEN|ACCESS_KEY")
Config = dict[str, Any]


def load() -> Config:
    return yaml.safe_load(FILE.read_text(encoding="utf-8"))


def once(service: Config) -> bool:
    """Say whether a service ends by itself: it is not started again."""
    return "restart" not in service


def words(service: Config) -> str:
    return " ".join([*service.get("entrypoint", []), *service.get("command", [])])


def only_hands_over_a_folder(service: Config) -> bool:
    entry = service.get("entrypoint", [""])[0]
    alone = service.get("network_mode") == "none" and service.get("cap_add") == ["CHOWN"]
    return once(service) and entry == "chown" and alone


def faults(config: Config) -> list[str]:
    """Return what is wrong, by the schema first, then by the rules on top of the file."""
    found = [error.message for error in jsonschema.Draft7Validator(SCHEMA).iter_errors(config)]
    if found:
        return found
    services = config["services"]
    ray = [service for service in services.values() if "ray start" in words(service)]
    heads = [words(service) for service in ray if "--head" in words(service)]
    wanted = {need for service in services.values() for need in service.get("depends_on", {})}
    variables = [v for s in services.values() for v in s.get("environment", {}).items()]
    mlflow = services["mlflow"]
    rules = {
        "one head and two workers": len(heads) == 1 and len(ray) == 3,
        "nothing published for others": all(
            port.startswith("127.0.0.1:") for s in services.values() for port in s.get("ports", [])
        ),
        "no network of the host": all(s.get("network_mode") != "host" for s in services.values()),
        "dashboard not for all": '--dashboard-host="$$(hostname -i)"' in heads[0],
        "token on": all(s.get("environment", {}).get("RAY_AUTH_MODE") == "token" for s in ray)
        and all("RAY_AUTH_TOKEN" in s["environment"] for s in ray),
        "trials on workers alone": "--num-cpus=0" in heads[0],
        "time to checkpoint": all(s.get("stop_grace_period") == "60s" for s in ray),
        "no root": all(
            re.match(r"[1-9]\d*:[1-9]\d*$", s.get("user", "")) or only_hands_over_a_folder(s)
            for s in services.values()
        ),
        "no way to root": all(
            s.get("cap_drop") == ["ALL"] and "no-new-privileges:true" in s.get("security_opt", [])
            for s in services.values()
        ),
        "health is asked": all(once(s) or "healthcheck" in s for s in services.values()),
        "no secret in the file": all(
            value.startswith(f"${{{'MLFLOW_AUTH_ADMIN_PASSWORD' if 'TRACKING' in key else name}:?")
            for key, value in variables
            if SECRET.search(key)
            for name in [{"PGPASSWORD": "POSTGRES_PASSWORD"}.get(key, key)]
        ),
        "no secret in an address": not re.search(r"://\w+:[^@\s]*@", yaml.dump(config)),
        "no newest image": not any(s["image"].endswith(":latest") for s in services.values()),
        "what is waited for is there": wanted <= services.keys(),
        "accounts": "--app-name=basic-auth" in words(mlflow),
        "accounts apart": re.search(
            r"database_uri = \S+/mlflow_auth", config["configs"]["accounts"]["content"]
        )
        is not None
        and "/mlflow_auth" not in words(mlflow),
    }
    return [rule for rule, holds in rules.items() if not holds]


def test_the_file_is_valid_and_keeps_the_rules() -> None:
    assert faults(load()) == []


def test_the_example_has_every_variable_and_no_secret() -> None:
    lines = [line for line in EXAMPLE.read_text().splitlines() if not line.startswith("#")]
    example = dict(line.split("=", 1) for line in lines)
    assert example.keys() == set(re.findall(r"(?<!\$)\$\{(\w+)", FILE.read_text(encoding="utf-8")))
    assert all(value == "" for key, value in example.items() if SECRET.search(key))


def test_the_command_on_top_fills_every_empty_value_and_hides_the_file(tmp_path: Path) -> None:
    story = [line[2:] for line in FILE.read_text(encoding="utf-8").splitlines() if line[:1] == "#"]
    first = next(number for number, line in enumerate(story) if "umask 077" in line)
    command = "\n".join(story[first : first + 3])
    (tmp_path / "cluster").mkdir()
    (tmp_path / "cluster" / EXAMPLE.name).write_text(EXAMPLE.read_text())
    subprocess.run(["bash", "-c", command], cwd=tmp_path, check=True)
    made = tmp_path / "cluster" / "compose.env"
    assert made.stat().st_mode & 0o077 == 0
    lines = [line for line in made.read_text().splitlines() if not line.startswith("#")]
    values = dict(line.split("=", 1) for line in lines)
    secrets = [value for key, value in values.items() if SECRET.search(key)]
    assert all(re.fullmatch("[0-9a-f]{48}", secret) for secret in secrets)
    assert len(set(secrets)) == len(secrets) == 6


def test_the_file_with_secrets_is_ignored_by_git_and_by_images() -> None:
    root = CLUSTER.parent
    assert "/cluster/compose.env" in (root / ".gitignore").read_text().splitlines()
    assert "!cluster" not in (root / ".dockerignore").read_text()


MUTANTS: dict[str, Callable[[Config], Any]] = {
    "a wrong key": lambda c: c["services"]["head"].update(port=["127.0.0.1:8265:8265"]),
    "a wrong condition": lambda c: c["services"]["mlflow"]["depends_on"].update(
        postgres={"condition": "healthy"}
    ),
    "published for all": lambda c: c["services"]["head"].update(ports=["8265:8265"]),
    "the host's network": lambda c: c["services"]["head"].update(network_mode="host"),
    "open dashboard": lambda c: c["services"]["head"].update(
        command=["ray start --head --num-cpus=0 --dashboard-host=0.0.0.0"]
    ),
    "no token": lambda c: c["services"]["worker-1"]["environment"].pop("RAY_AUTH_MODE"),
    "root": lambda c: c["services"]["postgres"].update(user="0:0"),
    "the image's user": lambda c: c["services"]["mlflow"].pop("user"),
    "a root that stays": lambda c: c["services"]["owner"].update(restart="always"),
    "all capabilities": lambda c: c["services"]["store"].pop("cap_drop"),
    "a secret in the file": lambda c: c["services"]["store"]["environment"].update(
        AWS_SECRET_ACCESS_KEY="minioadmin"
    ),
    "a secret with a default": lambda c: c["services"]["postgres"]["environment"].update(
        POSTGRES_PASSWORD="${POSTGRES_PASSWORD:-mlflow}"
    ),
    "a password in an address": lambda c: c["services"]["mlflow"]["command"].append(
        "--registry-store-uri=postgresql://mlflow:mlflow@postgres/mlflow"
    ),
    "no health": lambda c: c["services"]["store"].pop("healthcheck"),
    "no accounts": lambda c: c["services"]["mlflow"]["command"].remove("--app-name=basic-auth"),
    "accounts in the same database": lambda c: c["configs"]["accounts"].update(
        content="database_uri = postgresql://mlflow@postgres/mlflow"
    ),
    "waits for nobody": lambda c: c["services"].pop("bucket"),
    "one worker": lambda c: c["services"].pop("worker-2"),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_file_with_a_fault_is_found(mutant: str) -> None:
    config = copy.deepcopy(load())
    MUTANTS[mutant](config)
    assert faults(config) != []
