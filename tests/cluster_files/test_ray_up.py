"""`ray up` files: valid for the installed Ray, closed to others, spot machines from zero."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import ray.autoscaler
import yaml

CLUSTER = Path(__file__).parents[2] / "cluster"
SCHEMA = json.loads((Path(ray.autoscaler.__file__).parent / "ray-schema.json").read_text())
FILES = ["aws.yaml", "gcp.yaml"]
every_file = pytest.mark.parametrize("name", FILES)
Change = Callable[[dict[str, Any]], Any]


def load(name: str) -> dict[str, Any]:
    return yaml.safe_load((CLUSTER / name).read_text(encoding="utf-8"))


def starts(config: dict[str, Any]) -> list[str]:
    """Return the commands that start Ray, the head's first."""
    commands = config["head_start_ray_commands"] + config["worker_start_ray_commands"]
    return [command for command in commands if "ray start" in command]


def is_spot(node: dict[str, Any]) -> bool:
    market = node.get("InstanceMarketOptions", {}).get("MarketType")
    return market == "spot" or node.get("scheduling", {}).get("provisioningModel") == "SPOT"


def faults(config: dict[str, Any]) -> list[str]:
    """Return what is wrong with a file, by Ray's schema and by the rules of cluster/README.md."""
    found = [error.message for error in jsonschema.Draft7Validator(SCHEMA).iter_errors(config)]
    if found:
        return found
    head, *workers = starts(config)
    nodes = config["available_node_types"]
    others = [node for name, node in nodes.items() if name != config["head_node_type"]]
    ports = config["provider"].get("security_group", {}).get("IpPermissions", [])
    rules = {
        "the dashboard listens on this machine alone": "--dashboard-host=127.0.0.1" in head,
        "the token is asked for everywhere": all(
            "RAY_AUTH_MODE=token" in command for command in (head, *workers)
        ),
        "every machine gets the token": any(
            at.endswith("/.ray/auth_token") for at in config["file_mounts"]
        ),
        "the head runs no trials": "--num-cpus=0" in head and "--num-gpus=0" in head,
        "the head asks for machines": "--autoscaling-config=" in head,
        "the autoscaler knows that the head runs none": all(
            not amount for amount in nodes[config["head_node_type"]]["resources"].values()
        ),
        "workers come from zero": all(node["min_workers"] == 0 for node in others),
        "workers have GPUs": bool(others) and all(node["resources"]["GPU"] for node in others),
        "workers are spot": all(is_spot(node["node_config"]) for node in others),
        "nobody but the owner gets in": all(
            around["CidrIp"].endswith("/32") for port in ports for around in port["IpRanges"]
        ),
        "disks go with their machines": not config["provider"].get("cache_stopped_nodes", False),
        "nothing of root": config["auth"]["ssh_user"] != "root",
        "the versions are CI's": any("constraints.txt" in c for c in config["setup_commands"]),
    }
    return [rule for rule, holds in rules.items() if not holds]


@every_file
def test_a_file_is_valid_and_keeps_the_rules(name: str) -> None:
    assert faults(load(name)) == []


@every_file
def test_a_file_leaves_nothing_to_a_default_that_is_unsafe(name: str) -> None:
    """Ray's defaults open the dashboard, install a nightly Ray, and on AWS keep disks."""
    config = load(name)
    for key in ("setup_commands", "head_setup_commands", "head_start_ray_commands"):
        assert config[key]
    assert {"worker_setup_commands", "worker_start_ray_commands"} <= config.keys()
    assert name != "aws.yaml" or config["provider"]["cache_stopped_nodes"] is False
    assert name != "aws.yaml" or config["provider"]["security_group"]["IpPermissions"]


def replace_in_starts(old: str, new: str) -> Change:
    def change(config: dict[str, Any]) -> None:
        for key in ("head_start_ray_commands", "worker_start_ray_commands"):
            config[key] = [command.replace(old, new) for command in config[key]]

    return change


def open_port(config: dict[str, Any]) -> None:
    everyone = [{"CidrIp": "0.0.0.0/0"}]
    config["provider"]["security_group"] = {"IpPermissions": [{"IpRanges": everyone}]}


MUTANTS: dict[str, Change] = {
    "wrong key": lambda c: c.update(idle_timeout=10),
    "wrong type": lambda c: c.update(max_workers="four"),
    "wrong key of a node": lambda c: c["available_node_types"]["gpu"].update(replicas=1),
    "open dashboard": replace_in_starts("=127.0.0.1", "=0.0.0.0"),
    "no dashboard host": replace_in_starts("--dashboard-host=127.0.0.1", ""),
    "no token": replace_in_starts("RAY_AUTH_MODE=token", ""),
    "no token on a worker": lambda c: c.update(
        worker_start_ray_commands=["ray start --address=$RAY_HEAD_IP:6379"]
    ),
    "the token is not sent": lambda c: c["file_mounts"].pop("/home/ubuntu/.ray/auth_token"),
    "trials on the head": replace_in_starts("--num-cpus=0", ""),
    "never from zero": lambda c: c["available_node_types"]["gpu"].update(min_workers=1),
    "not spot": lambda c: c["available_node_types"]["gpu"].update(node_config={}),
    "open port": open_port,
    "kept disks": lambda c: c["provider"].update(cache_stopped_nodes=True),
    "root": lambda c: c["auth"].update(ssh_user="root"),
}


@every_file
@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_file_with_a_fault_is_found(name: str, mutant: str) -> None:
    config = copy.deepcopy(load(name))
    MUTANTS[mutant](config)
    assert faults(config) != []
