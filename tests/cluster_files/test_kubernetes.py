"""Manifests: fields that the operators know, and pods that nobody else gets into."""

import copy
import json
import re
import warnings
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

with warnings.catch_warnings():  # jsonschema's old resolver, deprecated, at its import
    warnings.simplefilter("ignore")
    import kubernetes_validate

CLUSTER = Path(__file__).parents[2] / "cluster"
SCHEMAS = Path(__file__).parent / "schemas"
FILES = sorted((*(CLUSTER / "kuberay").glob("*.yaml"), *(CLUSTER / "kueue").glob("*.yaml")))
KUBERNETES = "1.34"
Object = dict[str, Any]


@cache
def own_schemas() -> dict[str, Object]:
    """Return the schemas of the kinds that operators add, by `apiVersion kind`."""
    found = {}
    for file in sorted(SCHEMAS.glob("ku*.yaml")):
        schema = yaml.safe_load(file.read_text(encoding="utf-8"))
        for kind, of_kind in schema["kinds"].items():
            version = of_kind["properties"]["apiVersion"]["const"]
            found[f"{version} {kind}"] = {**of_kind, "definitions": schema["definitions"]}
    return found


def load(file: Path) -> list[Object]:
    return list(yaml.safe_load_all(file.read_text(encoding="utf-8")))


def ray_of(thing: Object) -> Object | None:
    """Return the specification of a Ray cluster, or None."""
    spec = thing.get("spec", {})
    return spec.get("rayClusterSpec", spec if thing["kind"] == "RayCluster" else None)


def pods(thing: Object) -> Iterator[Object]:
    """Yield every pod template."""
    ray = ray_of(thing)
    if ray is not None:
        for group in (ray["headGroupSpec"], *ray.get("workerGroupSpecs", [])):
            yield group["template"]
    elif "template" in thing.get("spec", {}):
        yield thing["spec"]["template"]


def core_faults(thing: Object) -> list[str]:
    """Return what Kubernetes itself would refuse, unknown fields included."""
    return core_faults_of_text(json.dumps(thing, sort_keys=True))


@cache  # most pods of a mutant are those of the file
def core_faults_of_text(text: str) -> list[str]:
    thing = json.loads(text)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            kubernetes_validate.validate(thing, KUBERNETES, strict=True)
    except kubernetes_validate.ValidationError as error:
        return [str(error.message)]
    return []


def form_faults(thing: Object) -> list[str]:
    """Return which fields of an object are unknown, missing or of another type."""
    schema = own_schemas().get(f"{thing['apiVersion']} {thing['kind']}")
    if schema is None:
        return core_faults(thing)
    found = [error.message for error in jsonschema.Draft7Validator(schema).iter_errors(thing)]
    if found:
        return found
    for pod in pods(thing):
        metadata = {"name": "pod", **pod.get("metadata", {})}
        whole = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": pod["spec"]}
        found += core_faults(whole)
    return found


def pod_rules(pod: Object) -> dict[str, bool]:
    security = pod["spec"].get("securityContext", {})
    containers = pod["spec"]["containers"]
    inner = [container.get("securityContext", {}) for container in containers]
    return {
        "no root": bool(security.get("runAsNonRoot") and security.get("runAsUser")),
        "no way to root": all(
            s.get("allowPrivilegeEscalation") is False
            and s.get("capabilities", {}).get("drop") == ["ALL"]
            and not s.get("privileged")
            for s in inner
        ),
        "limits": all(container["resources"].get("limits") for container in containers),
        "nothing of the host": not any(
            pod["spec"].get(key) for key in ("hostNetwork", "hostPID", "hostIPC")
        ),
        "secrets by reference": not any(
            "value" in variable and re.search("PASSWORD|SECRET|TOKEN|_KEY", variable["name"])
            for container in containers
            for variable in container.get("env", [])
        ),
        "a version of the image": all(
            re.search(r":(?!latest)[\w.-]+$", container["image"]) for container in containers
        ),
    }


def ray_rules(thing: Object, ray: Object) -> dict[str, bool]:
    head, groups = ray["headGroupSpec"], ray["workerGroupSpecs"]
    start = head["rayStartParams"]
    job = thing["spec"] if thing["kind"] == "RayJob" else None
    queued = "kueue.x-k8s.io/queue-name" in thing["metadata"].get("labels", {})
    rules = {
        "token on": ray.get("authOptions", {}).get("mode") == "token"
        and bool(ray["authOptions"].get("secretName")),
        "a Ray that knows tokens": ray.get("rayVersion") == "2.60.0",
        "the head runs no trials": start.get("num-cpus") == "0" and start.get("num-gpus") == "0",
        "workers have a GPU": all(
            container["resources"]["limits"].get("nvidia.com/gpu")
            for group in groups
            for container in group["template"]["spec"]["containers"]
        ),
        "time to checkpoint": all(
            group["template"]["spec"].get("terminationGracePeriodSeconds", 30) >= 60
            for group in groups
        ),
        "the network policy is about these pods": all(
            pod.get("metadata", {}).get("labels", {}).get("app") == "curvetune"
            for pod in pods(thing)
        ),
        "not published": head.get("serviceType", "ClusterIP") == "ClusterIP",
    }
    if not queued:
        rules["from zero"] = bool(ray.get("enableInTreeAutoscaling")) and all(
            group["minReplicas"] == group["replicas"] == 0 for group in groups
        )
    if job is None:
        rules["dashboard closed"] = start.get("dashboard-host") == "127.0.0.1"
    else:
        stop = yaml.safe_load(job["runtimeEnvYAML"])["env_vars"]["RAY_JOB_STOP_WAIT_TIME_S"]
        rules["ends with its grid"] = job.get("shutdownAfterJobFinishes") is True
        rules["time to stop"] = int(stop) >= 30
        rules["no dashboard for all"] = "0.0.0.0" not in start.values()
    if queued:
        rules["Kueue takes it whole"] = not ray.get("enableInTreeAutoscaling") and all(
            group["minReplicas"] == group["replicas"] == group["maxReplicas"] for group in groups
        )
    return rules


def faults(thing: Object) -> list[str]:
    """Return what is wrong with an object: fields first, then the rules of cluster/README.md."""
    found = form_faults(thing)
    if found:
        return found
    rules: dict[str, bool] = {}
    for pod in pods(thing):
        for rule, holds in pod_rules(pod).items():
            rules[rule] = rules.get(rule, True) and holds
    ray = ray_of(thing)
    if ray is not None:
        rules |= ray_rules(thing, ray)
    rules["no secret in a file"] = thing["kind"] != "Secret"
    if thing["kind"] == "Service":
        rules["not published"] = thing["spec"].get("type", "ClusterIP") == "ClusterIP"
    return [rule for rule, holds in rules.items() if not holds]


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}/{file.name}")
def test_a_manifest_is_valid_and_keeps_the_rules(file: Path) -> None:
    things = load(file)
    assert things
    assert {thing["metadata"]["name"]: faults(thing) for thing in things if faults(thing)} == {}


def names(thing: object, key: str) -> Iterator[Any]:
    """Yield every value of `key` anywhere in an object."""
    if isinstance(thing, dict):
        yield from (value for found, value in thing.items() if found == key)
    children = thing.values() if isinstance(thing, dict) else thing
    if isinstance(thing, dict | list):
        for child in children:
            yield from names(child, key)


def test_each_secret_that_is_referred_to_has_the_one_command_that_makes_it() -> None:
    things = [thing for file in FILES for thing in load(file)]
    wanted = {(ref["name"], ref["key"]) for ref in names(things, "secretKeyRef")}
    wanted |= {(name, "auth_token") for name in names(things, "secretName")}
    assert len(wanted) == 4
    made = set()
    for file in FILES:
        story = file.read_text(encoding="utf-8").replace("\\\n#", "")
        for name, rest in re.findall(r"create secret generic ([\w-]+)(.*)", story):
            made |= {(name, key) for key in re.findall(r"--from-(?:literal|file)=(\w+)=", rest)}
    assert wanted == made


def test_the_queue_has_room_for_the_job_that_waits_in_it() -> None:
    queue = next(t for t in load(CLUSTER / "kueue/queue.yaml") if t["kind"] == "ClusterQueue")
    flavor = queue["spec"]["resourceGroups"][0]["flavors"][0]["resources"]
    quota = {entry["name"]: entry["nominalQuota"] for entry in flavor}
    (job,) = load(CLUSTER / "kueue/job.yaml")
    spec = job["spec"]["rayClusterSpec"]
    gpus = cpus = memory = 0
    for count, group in [
        (1, spec["headGroupSpec"]),
        *((group["replicas"], group) for group in spec["workerGroupSpecs"]),
    ]:
        requests = group["template"]["spec"]["containers"][0]["resources"]["requests"]
        gpus += count * int(requests.get("nvidia.com/gpu", 0))
        cpus += count * int(requests["cpu"])
        memory += count * int(requests["memory"].removesuffix("Gi"))
    assert gpus == quota["nvidia.com/gpu"]
    assert cpus + 1 <= quota["cpu"]  # one for the pod that submits
    assert memory + 1 <= int(quota["memory"].removesuffix("Gi"))


def worker(thing: Object) -> Object:
    return ray_of(thing)["workerGroupSpecs"][0]  # type: ignore[index]


def head(thing: Object) -> Object:
    return ray_of(thing)["headGroupSpec"]  # type: ignore[index]


MUTANTS: dict[str, Callable[[Object], Any]] = {
    "a field that is not there": lambda t: worker(t).update(replica=2),
    "a word for a number": lambda t: worker(t).update(minReplicas="zero"),
    "a mode that is not there": lambda t: ray_of(t)["authOptions"].update(mode="basic"),  # type: ignore[index]
    "a container's wrong field": lambda t: worker(t)["template"]["spec"]["containers"][0].update(
        images="x"
    ),
    "no token": lambda t: ray_of(t).pop("authOptions"),  # type: ignore[union-attr]
    "token off": lambda t: ray_of(t)["authOptions"].update(mode="disabled"),  # type: ignore[index]
    "root": lambda t: worker(t)["template"]["spec"]["securityContext"].update(runAsUser=0),
    "perhaps root": lambda t: head(t)["template"]["spec"].pop("securityContext"),
    "open dashboard": lambda t: head(t)["rayStartParams"].update({"dashboard-host": "0.0.0.0"}),
    "trials on the head": lambda t: head(t)["rayStartParams"].pop("num-cpus"),
    "on the internet": lambda t: head(t).update(serviceType="LoadBalancer"),
    "no time to checkpoint": lambda t: worker(t)["template"]["spec"].update(
        terminationGracePeriodSeconds=5
    ),
    "no GPU": lambda t: worker(t)["template"]["spec"]["containers"][0]["resources"].update(
        limits={"cpu": "1"}
    ),
    "another size": lambda t: worker(t).update(minReplicas=1),
    "outside of the network policy": lambda t: worker(t)["template"].pop("metadata"),
}
RAY_FILES = ["kuberay/cluster.yaml", "kuberay/job.yaml", "kueue/job.yaml"]


@pytest.mark.parametrize("name", RAY_FILES)
@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_ray_with_a_fault_is_found(name: str, mutant: str) -> None:
    (thing,) = copy.deepcopy(load(CLUSTER / name))
    MUTANTS[mutant](thing)
    assert faults(thing) != []


OTHERS: dict[str, tuple[str, str, Callable[[Object], Any]]] = {
    "a job that stays": (
        "kuberay/job.yaml",
        "RayJob",
        lambda t: t["spec"].update(shutdownAfterJobFinishes=False),
    ),
    "a job killed after 3 s": (
        "kuberay/job.yaml",
        "RayJob",
        lambda t: t["spec"].update(runtimeEnvYAML="env_vars: {RAY_JOB_STOP_WAIT_TIME_S: '3'}"),
    ),
    "a quota's wrong field": (
        "kueue/queue.yaml",
        "ClusterQueue",
        lambda t: t["spec"].update(cohort="all"),
    ),
    "a former version": (
        "kueue/queue.yaml",
        "LocalQueue",
        lambda t: t.update(apiVersion="kueue.x-k8s.io/v1beta1"),
    ),
    "a password in the file": (
        "kuberay/mlflow.yaml",
        "Deployment",
        lambda t: next(pods(t))["spec"]["containers"][0]["env"].append(
            {"name": "PGPASSWORD", "value": "x"}
        ),
    ),
    "a database on the internet": (
        "kuberay/mlflow.yaml",
        "Service",
        lambda t: t["spec"].update(type="LoadBalancer"),
    ),
    "a claim's wrong field": (
        "kuberay/volume.yaml",
        "PersistentVolumeClaim",
        lambda t: t["spec"].update(accessMode="ReadWriteMany"),
    ),
    "a policy's wrong field": (
        "kuberay/network.yaml",
        "NetworkPolicy",
        lambda t: t["spec"].update(ingres=[]),
    ),
}


@pytest.mark.parametrize("mutant", OTHERS)
def test_another_object_with_a_fault_is_found(mutant: str) -> None:
    name, kind, change = OTHERS[mutant]
    thing = copy.deepcopy(next(t for t in load(CLUSTER / name) if t["kind"] == kind))
    change(thing)
    try:
        found = faults(thing)
    except kubernetes_validate.SchemaNotFoundError as error:
        found = [str(error)]
    assert found != []
