"""A searcher whose cluster changes: nodes come, go, are drained or turn out unfit."""

from collections.abc import Callable
from typing import Any

import pytest
from ray.tune.search import Searcher

from curvetune.errors import BackendError
from curvetune.planning.order import Order
from curvetune.planning.resources import LaunchOptions, Slots
from curvetune.tune.launch import resources_of
from curvetune.tune.nodes import room as of_room
from curvetune.tune.nodes.asked import Node
from curvetune.tune.nodes.room import Room
from curvetune.tune.searcher import OrderSearcher


class Nobody:
    """No other command works on the storage."""

    def has_probe(self, probe_id: str) -> bool:
        return False

    has_result = holds_probe = holds_cell = has_probe


class Cluster:
    """Stands in for Ray: the nodes and which of them are drained."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.drained: list[str] = []

    def has(self, **cpus: float) -> None:
        self.nodes = [Node(name, f"{name} (10.0.0.1)", {"CPU": n}) for name, n in cpus.items()]


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    cluster = Cluster()
    monkeypatch.setattr(of_room, "living", lambda: cluster.nodes)
    monkeypatch.setattr(of_room, "draining", lambda: cluster.drained)
    monkeypatch.setattr(of_room, "LOOK_S", 0.0)
    return cluster


@pytest.fixture
def make(cluster: Cluster) -> Callable[..., tuple[Room, OrderSearcher]]:
    def make(*cells: str, options: LaunchOptions | None = None) -> tuple[Room, OrderSearcher]:
        room = Room(options or LaunchOptions())
        room.take(room.options)
        searcher = OrderSearcher(Order(dict.fromkeys(cells)), Nobody(), room=room)
        searcher.set_max_concurrency(1000)
        return room, searcher

    return make


Make = Callable[..., tuple[Room, OrderSearcher]]


def started(searcher: OrderSearcher, trial: str) -> dict[str, Any]:
    config = searcher.suggest(trial)
    assert isinstance(config, dict)
    return config


def test_as_many_trials_start_as_fit_on_the_nodes_that_are_there_now(
    cluster: Cluster, make: Make
) -> None:
    cluster.has(a=1)
    _, searcher = make("c1", "c2", "c3")
    started(searcher, "t1")
    assert searcher.suggest("t2") is None
    cluster.has(a=1, b=2)
    started(searcher, "t2")
    started(searcher, "t3")
    assert searcher.suggest("t4") is None  # all of them run


def test_a_drained_node_gets_no_more_cells_and_its_cell_starts_again_elsewhere(
    cluster: Cluster, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    cluster.has(a=1, b=1)
    room, searcher = make("c1", "c2")
    started(searcher, "t1")
    started(searcher, "t2")
    cluster.drained = ["b"]
    room.look(2)
    assert "b (10.0.0.1) gets no more cells: it is being drained" in caplog.text
    searcher.on_trial_result("t2", {"stage": "moved", "cell_id": "c2"})
    searcher.on_trial_complete("t2", {})
    assert searcher.suggest("t3") is None
    searcher.on_trial_complete("t1", {})
    assert started(searcher, "t3") == {"cell_id": "c2", "not_on": ["b"]}
    searcher.on_trial_complete("t3", {})
    assert searcher.suggest("t4") == Searcher.FINISHED
    assert searcher.order.complete()


def test_a_node_that_finds_itself_unfit_is_closed_with_its_reason(
    cluster: Cluster, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    cluster.has(a=1, b=1)
    room, searcher = make("c1", "c2")
    started(searcher, "t1")
    started(searcher, "t2")
    told = {"stage": "unfit", "node": "b", "why": "lacks torch", "cell_id": "c2"}
    searcher.on_trial_result("t2", told)
    searcher.on_trial_complete("t2", told)
    assert room.closed == {"b": "lacks torch"}
    assert "b (10.0.0.1) gets no more cells: lacks torch" in caplog.text
    searcher.on_trial_complete("t1", {})
    assert started(searcher, "t3")["not_on"] == ["b"]


def test_a_leader_that_moves_leaves_its_probe_to_whoever_comes_next(
    cluster: Cluster, make: Make
) -> None:
    cluster.has(a=2)
    room, _ = make()
    order = Order(dict.fromkeys(("c1", "c2"), "P"))
    searcher = OrderSearcher(order, Nobody(), room=room)
    assert started(searcher, "t1") == {"cell_id": "c1"}
    assert searcher.suggest("t2") is None
    searcher.on_trial_result("t1", {"stage": "moved", "cell_id": "c1"})
    searcher.on_trial_complete("t1", {})
    assert started(searcher, "t2") == {"cell_id": "c2"}  # it leads now
    order.probe_ready("P")
    assert started(searcher, "t3") == {"cell_id": "c1"}


def test_no_room_for_too_long_ends_the_grid_with_what_to_do(
    cluster: Cluster, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.has(a=1)
    room, _ = make("c1", options=LaunchOptions(address=None, wait_s=0.0))
    cluster.has()
    room.look(3)
    assert room.notice.text == "waiting for 3 CPUs, 0 there"
    with pytest.raises(BackendError, match=r"no room for a cell.*--wait.*run the same command"):
        room.look(3)
    cluster.has(a=1)
    room.look(3)
    assert room.notice.text == ""


def test_a_trial_asks_for_its_kind_of_gpu_and_stays_off_closed_nodes() -> None:
    bundle = Slots(1, 0.5, 2, "H100").bundle
    assert bundle == {"CPU": 1, "GPU": 0.5, "accelerator_type:H100": 0.001}
    open_, closed = resources_of(bundle, {}), resources_of(bundle, {"not_on": ["b", "c"]})
    assert open_.required_resources == closed.required_resources == bundle
    assert open_ != closed
    assert closed._bound.kwargs == {"bundle_label_selector": [{"ray.io/node-id": "!in(b,c)"}]}
