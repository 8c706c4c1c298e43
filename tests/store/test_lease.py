import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from curvetune.errors import BusyError, LostLeaseError
from curvetune.store import CellStore
from curvetune.store.lease import leased, read_holder

CELL = "0123456789abcdef"
HOLD = """
import sys, time
from pathlib import Path
from curvetune.store.lease import leased
with leased(Path(sys.argv[1])) as lease:
    print(lease.token, flush=True)
    time.sleep(60)
"""


def hold(folder: Path, lease_s: float = 60.0) -> "subprocess.Popen[str]":
    """Start a process that holds the lease of `folder`, and wait until it does."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "CURVETUNE_LEASE_S": str(lease_s)},
    )
    assert process.stdout is not None
    process.stdout.readline()
    return process


def test_a_lease_is_held_by_one_and_free_again_at_once_when_it_is_released(tmp_path: Path) -> None:
    with leased(tmp_path) as first:
        with pytest.raises(BusyError, match=f"process {os.getpid()} on"), leased(tmp_path):
            pass
        holder = read_holder(tmp_path)
        assert holder is not None
        assert (holder.pid, holder.alive, holder.token) == (os.getpid(), True, first.token)
    with leased(tmp_path) as second:
        assert second.token > first.token
        with pytest.raises(LostLeaseError, match="another process took over"):
            first.check()
    assert len(list(tmp_path.glob("lease-*"))) == 1


def test_of_many_who_want_a_lease_at_once_one_gets_it(tmp_path: Path) -> None:
    start, got, release = threading.Barrier(8), [], threading.Event()

    def want() -> None:
        start.wait()
        try:
            with leased(tmp_path) as lease:
                got.append(lease.token)
                release.wait(10)
        except BusyError:
            got.append(0)
            if len(got) == 8:
                release.set()

    threads = [threading.Thread(target=want) for _ in range(8)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 10
    while len(got) < 8 and time.monotonic() < deadline:
        time.sleep(0.01)
    release.set()
    for thread in threads:
        thread.join()
    assert sorted(got) == [0] * 7 + [1]


def test_the_lease_of_a_killed_process_on_this_machine_is_free_at_once(tmp_path: Path) -> None:
    process = hold(tmp_path)
    with pytest.raises(BusyError), leased(tmp_path):
        pass
    process.kill()  # not yet waited for: a zombie
    deadline = time.monotonic() + 5
    while (holder := read_holder(tmp_path)) and holder.alive and time.monotonic() < deadline:
        time.sleep(0.01)
    with leased(tmp_path) as lease:
        assert lease.token == 2
    process.communicate()


def test_a_frozen_holder_is_taken_over_after_its_time_and_its_late_publish_is_refused(
    tmp_path: Path,
) -> None:
    store = CellStore(tmp_path)
    folder = store.folder(CELL)
    process = hold(folder, lease_s=1.0)
    try:
        time.sleep(1.5)  # it lives, so its heart beats
        with pytest.raises(BusyError), leased(folder):
            pass
        process.send_signal(signal.SIGSTOP)
        time.sleep(1.5)
        with leased(folder) as lease:
            assert lease.token == 2
            store.publish(CELL, {"accuracy": 1.0}, files=(), lease=lease)
    finally:
        process.kill()
        process.communicate()


def test_what_comes_too_late_is_refused_with_and_without_a_lease(tmp_path: Path) -> None:
    store = CellStore(tmp_path)
    with leased(store.folder(CELL)) as stale:
        os.utime(next(store.folder(CELL).glob("lease-*")), (0, 0))  # as if its heart stood still
        with leased(store.folder(CELL)) as lease:
            with pytest.raises(LostLeaseError, match="token 2, ours is 1"):
                store.publish(CELL, {"accuracy": 0.0}, files=(), lease=stale)
            store.publish(CELL, {"accuracy": 1.0}, files=(), lease=lease)
    with pytest.raises(LostLeaseError, match="published it first"):
        store.publish(CELL, {"accuracy": 0.0}, files=())
    result = store.result(CELL)
    assert result is not None
    assert result["accuracy"] == 1.0


@pytest.mark.parametrize("text", ["[]", '{"pid": "x"}', "[" * 5000, '{"since": null}', "\x00"])
def test_a_lease_that_nobody_wrote_holds_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "lease-000007.json").write_text(text, encoding="utf-8")
    with leased(tmp_path) as lease:
        assert lease.token == 8


def test_a_holder_on_another_machine_is_judged_by_its_heartbeat_alone(tmp_path: Path) -> None:
    process = hold(tmp_path, lease_s=60.0)
    path = next(tmp_path.glob("lease-*"))
    text = path.read_text(encoding="utf-8")
    process.kill()
    process.communicate()
    path.write_text(text.replace('"boot": "', '"boot": "another '), encoding="utf-8")
    with pytest.raises(BusyError), leased(tmp_path):
        pass
    an_age = time.time() - 61
    os.utime(path, (an_age, an_age))
    with leased(tmp_path) as lease:
        assert lease.token == 2
