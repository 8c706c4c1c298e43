"""Which nodes a cluster has, and whether they can run trials: each is asked before any trial is.

A node may have another folder under the storage's name, no PyTorch, or GPUs that its PyTorch cannot
use. Trials there would compute for nothing, so such a node is named, and nothing starts.
"""

import contextlib
import logging
import os
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import ray
from ray import cloudpickle
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy as On

from curvetune.errors import ConfigError, StorageError, printable
from curvetune.store.files import address_of, cannot_write
from curvetune.store.flags import Flag
from curvetune.store.names import TUNE
from curvetune.system.redact import redact
from curvetune.system.source_code import this_code
from curvetune.system.units import size_text
from curvetune.tune.job import FAKE_GPUS
from curvetune.tune.nodes import look

ANSWER_S = 60.0  # how long a node may take; three of them took 1.5 s together
SEEN_S = 5.0  # how long a file of another node may take to be seen, on a network file system

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Node:
    """A living node of the cluster.

    Args:
        id: Ray's, 56 hexadecimal digits.
        host: name and address, as people know it.
        resources: {"CPU": 8.0, "GPU": 2.0, …}.
    """

    id: str
    host: str
    resources: Mapping[str, float]


@dataclass(frozen=True)
class Question:
    """What a node is asked.

    Args:
        storage: as people know it.
        folder: of it, where the driver wrote `nonce`; empty if there is nothing to prove.
        url: of an object store, where `folder` is a key; empty for a folder.
        source: digest of the driver's sources that decide numbers.
        gpus: whether trials use GPUs.
        files: that trials read, such as the first image of a streamed set.
        data_bytes: of the images that go to every node, in Ray's object store.
    """

    storage: str
    folder: str
    url: str
    nonce: str
    source: str | None
    gpus: bool
    files: tuple[str, ...] = ()
    data_bytes: int = 0

    def to(self, node: str, *, driver_looks: bool = False) -> dict[str, Any]:
        """Return the same as plain values, for one node.

        Args:
            driver_looks: the driver looks for the answer in the storage, and removes it.
        """
        asked = replace(self, gpus=self.gpus and not fake_gpus())
        return {**asdict(asked), "node": node, "driver_looks": driver_looks}


def living() -> list[Node]:
    """Return the living nodes of the cluster."""
    table: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return [
        Node(
            node["NodeID"],
            f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})",
            node["Resources"],
        )
        for node in table
        if node["Alive"]
    ]


def fake_gpus() -> bool:
    """Say whether the GPUs of this cluster are only numbers, as in tests."""
    return os.environ.get(FAKE_GPUS, "0") not in ("", "0")


@contextlib.contextmanager
def asking(
    storage: Path, launch_id: str, *, gpus: bool, files: Sequence[str], data_bytes: int = 0
) -> Iterator[Question]:
    """Write a question to the storage, and remove it with all answers when the block ends.

    Raises:
        StorageError: it cannot be written.
    """
    url = address_of(storage)
    folder = storage / TUNE / f"{launch_id}.nodes"
    nonce = uuid.uuid4().hex
    where = str(folder.relative_to(storage) if url else folder)
    flag = Flag(folder / nonce)
    try:
        flag.put_up()
    except OSError as error:
        raise cannot_write(folder, error, 0) from error
    question = Question(
        url or str(storage), where, url, nonce, this_code().source, gpus, tuple(files), data_bytes
    )
    try:
        yield question
    finally:
        with contextlib.suppress(OSError, StorageError):
            flag.take_down()
            folder.rmdir()


def check_nodes(nodes: Sequence[Node], question: Question, storage: Path) -> None:
    """Ask every node at once; say what is worth knowing of them.

    Raises:
        ConfigError: one of them cannot run trials.
    """
    answers = _answers(nodes, question)
    bad: list[tuple[Node, list[str]]] = []
    for node in nodes:
        answer = answers[node.id]
        if isinstance(answer, str):
            bad.append((node, [answer]))
        elif found := [
            *faults(answer, question),
            *_unseen(answer, node, question, storage),
            *too_small(answer, node, question),
        ]:
            bad.append((node, found))
    if bad:
        raise ConfigError(_refusal(bad, len(nodes)))
    if (said := _other_versions(nodes, answers)) is not None:
        logger.warning("%s", said)


def check_here(*, gpus: bool) -> None:
    """Check this machine, which runs both driver and trials.

    Raises:
        ConfigError: trials cannot run here.
    """
    question = Question("", "", "", "", this_code().source, gpus)
    if found := faults(look.look(question.to("")), question):
        raise ConfigError(f"this machine cannot run trials: it {'; it '.join(found)}")


def first_files(dataset: Any) -> list[str]:
    """Return a file of each streamed set of images, which every node must find."""
    # inside: a worker that lacks what these import is to say so
    from curvetune.data.stream import ShardPixels
    from curvetune.data.tables.encoded import first_file

    sets = (getattr(dataset, "train", None), getattr(dataset, "test", None))
    pixels = [images.x for images in sets if images is not None]
    streamed = [x.shards.encoded for x in pixels if isinstance(x, ShardPixels)]
    return [str(file) for encoded in streamed if (file := first_file(encoded)) is not None]


def bytes_sent(dataset: Any) -> int:
    """Return how many bytes of images go to each node; streamed ones do not."""
    sets = (getattr(dataset, "train", None), getattr(dataset, "test", None))
    return sum(int(getattr(images.x, "nbytes", 0)) for images in sets if images is not None)


def faults(answer: Mapping[str, Any], question: Question) -> list[str]:
    """Return why trials cannot run where `answer` comes from, with what to do about each."""
    found = []
    if answer["missing"]:
        found.append(
            f"lacks {', '.join(answer['missing'])}; install curvetune's dependencies there "
            f"(its own code travels with the grid)"
        )
    elif answer["source"] is None:
        found.append("cannot import curvetune; install it there as on the driver's node")
    elif answer["source"] != question.source:
        found.append(
            f"would run other code of curvetune ({printable(answer['source'])}; the driver has "
            f"{question.source}); remove it there, or install the driver's commit"
        )
    if answer["cuda"] is not None:
        found.append(
            f"has GPUs for Ray, but {answer['cuda']}; install PyTorch for CUDA and the driver "
            f"there, or train on CPUs with --gpus-per-trial 0"
        )
    if answer["storage"] is not None:
        found.append(
            f"storage {question.storage} {answer['storage']}; give a folder that every node mounts "
            f"under this path (NFS, Lustre, …), or an object store: --storage s3://BUCKET/PREFIX"
        )
    if answer["unseen"]:
        found.append(
            f"cannot read {printable(answer['unseen'][0])}; streamed images must be where every "
            f"node finds them: give such a folder with --data-dir"
        )
    return found


def _answers(nodes: Sequence[Node], question: Question) -> dict[str, dict[str, Any] | str]:
    """Return what each node answers, or in words why it does not."""
    cloudpickle.register_pickle_by_value(look)  # type: ignore[no-untyped-call]
    try:
        task = ray.remote(num_cpus=0, max_retries=0)(look.look)
        asked = {
            node.id: task.options(scheduling_strategy=On(node.id, soft=False)).remote(
                question.to(node.id, driver_looks=True)
            )
            for node in nodes
        }
    finally:
        cloudpickle.unregister_pickle_by_value(look)  # type: ignore[no-untyped-call]
    ray.wait(list(asked.values()), num_returns=len(asked), timeout=ANSWER_S)
    return {node: _answer(ref) for node, ref in asked.items()}


def _answer(ref: Any) -> dict[str, Any] | str:
    try:
        answer: dict[str, Any] = ray.get(ref, timeout=0.1)
    except ray.exceptions.GetTimeoutError:
        return f"does not answer within {ANSWER_S:g} s; look into its Ray logs, or remove it"
    except RayError as error:
        words = redact(str(error)).strip().splitlines()
        return f"cannot run Python for this grid: {printable(words[-1] if words else error)}"
    return answer


def _unseen(answer: Mapping[str, Any], node: Node, question: Question, storage: Path) -> list[str]:
    """Say so if what a node wrote to the storage does not arrive here; remove it."""
    if answer["storage"] is not None or not question.folder:
        return []
    path = storage / question.folder / look.answer_name(node.id)
    end = time.monotonic() + SEEN_S
    while not Flag(path).is_up():
        if time.monotonic() > end:
            return [f"writes to another storage {question.storage}: its file is not seen here"]
        time.sleep(0.2)
    with contextlib.suppress(OSError, StorageError):
        Flag(path).take_down()
    return []


def too_small(answer: Mapping[str, Any], node: Node, question: Question) -> list[str]:
    """Say so if a node has no room for the images; that they go to its disk is only told."""
    memory = int(node.resources.get("object_store_memory", 0))
    if question.data_bytes <= memory:
        return []
    sizes = f"the images take {size_text(question.data_bytes)}; Ray's object store there has"
    if question.data_bytes > memory + answer["disk"]:
        disk = f"{size_text(memory)} and its disk {size_text(answer['disk'])} free"
        return [
            f"has no room for the data: {sizes} {disk}. Start Ray there with more "
            f"(`ray start --object-store-memory`), take fewer images (--set train_limit=…), or "
            f"stream them from a folder that all nodes see (--set residence=streamed)"
        ]
    logger.warning(
        "%s: %s %s, so they are read from its disk, which is slow",
        node.host,
        sizes,
        size_text(memory),
    )
    return []


def _refusal(bad: Sequence[tuple[Node, Sequence[str]]], num_nodes: int) -> str:
    lines = [f"  {node.host} {fault}" for node, found in bad for fault in found]
    nodes = f"{len(bad)} of {num_nodes} nodes" if num_nodes > 1 else "the only node"
    return "\n".join([f"{nodes} cannot run trials, so nothing was started:", *lines])


def _other_versions(
    nodes: Sequence[Node], answers: Mapping[str, dict[str, Any] | str]
) -> str | None:
    """Say which nodes have which PyTorch, if they differ."""
    found: dict[str, list[str]] = {}
    for node in nodes:
        answer = answers[node.id]
        if isinstance(answer, dict):
            found.setdefault(str(answer["torch"]), []).append(node.host)
    if len(found) < 2:
        return None
    versions = "; ".join(f"{version} on {', '.join(at)}" for version, at in found.items())
    return f"PyTorch differs between the nodes: {versions}. Each result says which one made it"
