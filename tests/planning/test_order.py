import random

import pytest

from curvetune.planning.order import Order


def test_leaders_come_before_followers_and_those_before_cells_without_a_probe() -> None:
    order = Order({"free": None, "a1": "A", "a2": "A", "b1": "B", "c1": "C"}, stored={"C"})
    assert [order.next() for _ in range(4)] == ["a1", "b1", "c1", "free"]
    assert order.next() is None  # a2 waits for A
    assert not order.finished()


def test_followers_come_first_where_few_curves_are_to_be_kept_at_a_time() -> None:
    cells = {"free": None, "a1": "A", "b1": "B", "b2": "B", "c1": "C"}
    order = Order(cells, stored={"C"}, followers_first=True)
    assert [order.next(), order.next(), order.next()] == ["c1", "a1", "b1"]
    order.probe_ready("B")
    assert [order.next(), order.next(), order.next()] == ["b2", "free", None]


def test_followers_start_when_the_curves_are_stored_not_when_the_leader_ends() -> None:
    order = Order({"a1": "A", "a2": "A", "a3": "A"})
    assert order.next() == "a1"
    assert order.next() is None
    assert order.waits_for() == ["A"]
    order.probe_ready("A")
    assert order.waits_for() == []
    assert [order.next(), order.next(), order.next()] == ["a2", "a3", None]
    assert order.finished()
    assert not order.complete()


def test_a_leader_that_fails_before_its_curves_are_stored_is_replaced() -> None:
    order = Order({"a1": "A", "a2": "A", "a3": "A"})
    assert order.next() == "a1"
    order.settled("a1", failed=True)
    assert order.next() == "a2"
    assert order.next() is None


def test_a_leader_that_fails_after_its_curves_are_stored_leaves_its_followers_free() -> None:
    order = Order({"a1": "A", "a2": "A", "a3": "A"})
    order.next()
    order.probe_ready("A")
    order.settled("a1", failed=True)
    assert [order.next(), order.next()] == ["a2", "a3"]


def test_a_leader_that_succeeds_has_stored_its_curves_even_if_it_never_said_so() -> None:
    order = Order({"a1": "A", "a2": "A"})
    order.next()
    order.settled("a1", failed=False)
    assert order.next() == "a2"


def test_settling_a_cell_that_does_not_run_is_misuse() -> None:
    order = Order({"a1": "A"})
    with pytest.raises(ValueError, match="not running"):
        order.settled("a1", failed=False)


def test_an_empty_order_is_finished_and_complete() -> None:
    order = Order({})
    assert order.next() is None
    assert order.finished()
    assert order.complete()


@pytest.mark.parametrize("seed", range(200))
def test_whatever_fails_every_cell_runs_once_and_none_before_its_curves_are_there(
    seed: int,
) -> None:
    rng = random.Random(seed)
    probes = [f"P{k}" for k in range(rng.randint(1, 5))]
    cells = {f"c{k}": rng.choice([*probes, None]) for k in range(rng.randint(1, 25))}
    there = {probe for probe in probes if rng.random() < 0.2}
    order, slots = Order(cells, there), rng.randint(1, 5)
    running: dict[str, str | None] = {}
    leads: dict[str, str] = {}  # probe -> the cell that we saw start without its curves
    started: list[str] = []
    while not order.complete():
        while len(running) < slots and (cell := order.next()) is not None:
            probe = cells[cell]
            if probe is not None and probe not in there:
                assert probe not in leads, "a second cell started before the curves were there"
                leads[probe] = cell
            running[cell] = probe
            started.append(cell)
        assert running, "nothing runs and nothing may start: a livelock"
        assert not order.finished() or len(started) == len(cells)
        _something_happens(rng, order, running, leads, there)
    assert sorted(started) == sorted(cells)


def _something_happens(
    rng: random.Random,
    order: Order,
    running: dict[str, str | None],
    leads: dict[str, str],
    there: set[str],
) -> None:
    """Let a leader store its curves, another grid store some, or a running cell end or fail."""
    cell = rng.choice(sorted(running))
    probe = running[cell]
    leading = probe is not None and leads.get(probe) == cell
    what = rng.choice(["store", "end", "fail", "another grid"])
    if what == "another grid" and order.waits_for():
        probe, leading, what = rng.choice(order.waits_for()), True, "store"
    if what == "store" and leading and probe is not None:
        there.add(probe)
        leads.pop(probe, None)
        order.probe_ready(probe)
    elif what in ("end", "fail"):
        if leading and probe is not None:
            del leads[probe]
            there |= {probe} if what == "end" else set()
        del running[cell]
        order.settled(cell, failed=what == "fail")
