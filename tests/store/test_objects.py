"""Storages in an object store: a real S3 server on loopback, and a mirror for each machine."""

import json
import pickle
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from storage_fixtures import finish, make_cells, write_grid

from curvetune.bundles.make import Wanted, make_bundle
from curvetune.bundles.take import take_bundle
from curvetune.bundles.verify import verify_bundle
from curvetune.errors import BusyError, LostLeaseError, StorageError
from curvetune.store import CellStore, CurveStore, open_storage
from curvetune.store.files import refresh
from curvetune.store.flags import Flag
from curvetune.store.lease import leased
from curvetune.store.remote.address import parse_address
from curvetune.store.remote.bucket import Bucket, ThereError
from curvetune.store.remote.paths import _mirror, open_mirror
from tests.faults.proxy import Proxy, proxy_to

CELL, PROBE = "0123456789abcdef", "fedcba9876543210"
SIGNED = "AWS4-HMAC-SHA256 Credential=k/20260101/us-east-1/s3/aws4_request"  # moto checks none
SECRET = "a-secret-that-is-nowhere"


@pytest.fixture(scope="module")
def server() -> Iterator[int]:
    pytest.importorskip("obstore", reason="obstore is not installed: pip install obstore")
    pytest.importorskip("moto.server", reason="no S3 server: pip install 'moto[server]'")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with socket.socket() as there:
            if there.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.1)
    yield port
    process.kill()
    process.wait()


@pytest.fixture
def url(server: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of a new prefix, with credentials in the environment."""
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", server, timeout=30)
    connection.request("PUT", "/results", headers={"Authorization": SIGNED})
    connection.getresponse().read()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "an-access-key-id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("CURVETUNE_BUCKET_RETRY_S", "2")
    monkeypatch.setenv("CURVETUNE_MIRRORS", str(tmp_path / "here"))
    return f"s3://results/{tmp_path.name}"


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Go to another machine: its mirrors are others."""
    return lambda name: monkeypatch.setenv("CURVETUNE_MIRRORS", str(tmp_path / name))


def curves() -> np.ndarray:
    return np.random.default_rng(0).random((7, 5), dtype=np.float32)


def test_what_one_machine_publishes_another_reads_and_it_is_published_once(
    url: str, elsewhere: Callable[[str], None]
) -> None:
    here = open_storage(url)
    CurveStore(here).write(PROBE, curves(), {"seconds": 1.0})
    CellStore(here).publish(CELL, {"accuracy": 50.0}, files=())
    elsewhere("there")
    there = open_storage(url)
    assert there != here
    assert np.array_equal(CurveStore(there).read(PROBE), curves())
    with pytest.raises(LostLeaseError, match="published it first"):
        CellStore(there).publish(CELL, {"accuracy": 60.0}, files=())
    result = CellStore(there).result(CELL)
    assert result is not None
    assert result["accuracy"] == 50.0


def test_a_copy_that_is_damaged_here_is_brought_anew(url: str) -> None:
    store = CurveStore(open_storage(url))
    store.write(PROBE, curves(), {"seconds": 1.0})
    path = store.folder(PROBE) / "curves.npy"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    assert np.array_equal(store.read(PROBE), curves())


def test_an_object_that_was_damaged_is_refused(url: str, elsewhere: Callable[[str], None]) -> None:
    CurveStore(open_storage(url)).write(PROBE, curves(), {"seconds": 1.0})
    bucket = Bucket(parse_address(url))
    found = bucket.get(f"probes/{PROBE}/curves.npy")
    assert found is not None
    bucket.put(f"probes/{PROBE}/curves.npy", found[0][:-1] + b"x")
    elsewhere("there")
    assert not CurveStore(open_storage(url)).has(PROBE)


def test_a_lease_is_held_on_one_machine_and_a_heart_that_stands_still_is_taken_over(
    url: str, elsewhere: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CURVETUNE_LEASE_S", "1")
    monkeypatch.setattr("curvetune.store.lease.BEATS", 0.001)  # it never beats
    here = CellStore(open_storage(url)).folder(CELL)
    with leased(here) as frozen:
        elsewhere("there")
        there = CellStore(open_storage(url)).folder(CELL)
        with pytest.raises(BusyError, match="is working on it"), leased(there):
            pass
        time.sleep(4.5)  # its time, and what whole seconds may hide
        with leased(there) as second:
            assert second.token == 2
            with pytest.raises(LostLeaseError, match="token 2, ours is 1"):
                frozen.check()
            second.check()


def test_a_put_whose_answer_was_lost_is_told_apart_from_a_lost_race(url: str) -> None:
    bucket = Bucket(parse_address(url))
    first = bucket.put("a.json", b"mine", once=True)
    assert bucket.put("a.json", b"mine", once=True) == first  # as obstore's second try hears it
    with pytest.raises(ThereError):
        bucket.put("a.json", b"another's", once=True)


def test_a_path_arrives_on_another_machine_as_a_path_of_its_own_mirror(
    url: str, elsewhere: Callable[[str], None]
) -> None:
    here = open_storage(url)
    sent = pickle.dumps(here / "cells")
    assert str(here).encode() not in sent
    elsewhere("there")
    assert pickle.loads(sent) == open_storage(url) / "cells"


def test_a_flag_that_is_put_up_on_one_machine_is_seen_on_another(
    url: str, elsewhere: Callable[[str], None]
) -> None:
    flag = Flag(open_storage(url) / ".tune" / "x.stop")
    flag.put_up()
    elsewhere("there")
    assert Flag(open_storage(url) / ".tune" / "x.stop").is_up()
    flag.take_down()
    elsewhere("third")
    assert not Flag(open_storage(url) / ".tune" / "x.stop").is_up()


def test_a_bucket_that_is_not_there_is_said_and_no_secret_is_written_anywhere(
    url: str, tmp_path: Path
) -> None:
    with pytest.raises(StorageError, match=r"there is no bucket 'nowhere'.*--storage") as told:
        open_storage("s3://nowhere/x")
    assert told.value.exit_code == 5
    CellStore(open_storage(url)).publish(CELL, {"accuracy": 50.0}, files=())
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(path.name == "DONE.json" for path in written)
    assert not any(SECRET.encode() in path.read_bytes() for path in written)


def test_what_is_written_while_other_processes_open_the_storage_is_in_the_bucket(url: str) -> None:
    """A reader of a marker that was just then being written again took the mirror for a folder."""
    root = open_storage(url)
    ended = threading.Event()

    def open_it() -> None:
        while not ended.is_set():
            open_mirror(parse_address(url))

    threads = [threading.Thread(target=open_it) for _ in range(2)]
    for thread in threads:
        thread.start()
    names = {f"many-{k}" for k in range(100)}
    for name in names:
        CellStore(root).write_grid(name, {"cells": [], "data_digest": "d" * 64})
    ended.set()
    for thread in threads:
        thread.join()
    keys = [Path(entry.key) for entry in Bucket(parse_address(url)).list("grids")]
    assert {key.stem for key in keys if key.parent == Path("grids")} == names
    assert {key.parent.name for key in keys if "commands" in key.parts} == names


@pytest.mark.parametrize("marker", [None, "", "s3://results/another"])
def test_a_mirror_that_does_not_say_of_what_is_refused_and_never_a_folder(
    url: str, marker: str | None
) -> None:
    root = open_storage(url)
    if marker is None:
        (root / ".mirror").unlink()
    else:
        (root / ".mirror").write_text(marker, encoding="utf-8")

    with pytest.raises(StorageError, match=r"is no mirror of .*remove it"):
        CellStore(root).publish(CELL, {"accuracy": 50.0}, files=())
    assert not (root / "cells" / CELL / "DONE.json").exists()
    assert open_storage(url) == root  # which says it anew
    CellStore(root).publish(CELL, {"accuracy": 50.0}, files=())


def test_a_folder_of_somebody_else_is_no_mirror_whatever_it_says(tmp_path: Path) -> None:
    (tmp_path / ".mirror").write_text("s3://theirs/x\n", encoding="utf-8")
    CellStore(tmp_path).publish(CELL, {"accuracy": 50.0}, files=())
    done = json.loads((tmp_path / "cells" / CELL / "DONE.json").read_text(encoding="utf-8"))
    assert "etags" not in done


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("ftp://host/x", "allowed are a folder"),
        ("s3://user:password@bucket/x", "credentials do not belong"),
        ("gs://bucket/../x", "are no folders"),
        ("az://_x/y", "letters, digits"),
    ],
)
def test_an_address_that_is_wrong_is_refused_without_its_secret(address: str, said: str) -> None:
    with pytest.raises(StorageError, match=said) as told:
        parse_address(address)
    assert "password" not in str(told.value)


@pytest.mark.parametrize("scheme", ["s3", "gs", "az"])
def test_an_address_is_the_same_with_the_slash_that_a_path_takes_away(scheme: str) -> None:
    text = f"{scheme}://bucket/a/b"
    assert parse_address(Path(text)) == parse_address(text)
    assert str(parse_address(Path(text))) == text


def test_plain_http_to_another_machine_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("obstore", reason="obstore is not installed: pip install obstore")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://storage.example:9000")
    monkeypatch.delenv("AWS_ALLOW_HTTP", raising=False)
    with pytest.raises(StorageError, match="AWS_ALLOW_HTTP"):
        Bucket(parse_address("s3://bucket/x"))


def error(code: str) -> bytes:
    return f"<Error><Code>{code}</Code><Message>{code}</Message></Error>".encode()


@pytest.fixture
def proxy(url: str, server: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    monkeypatch.setenv("CURVETUNE_BUCKET_RETRY_S", "15")
    with proxy_to(server) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.uri)
        yield proxy


@pytest.mark.faults
@pytest.mark.parametrize("mode", ["say", "lose"])
def test_throttling_and_lost_answers_cost_nothing_and_publish_once(
    url: str, proxy: Proxy, mode: Literal["say", "lose"]
) -> None:
    store = CellStore(open_storage(url))
    proxy.said, proxy.times, proxy.mode = (503, error("SlowDown")), 2, mode
    done = store.publish(CELL, {"accuracy": 50.0}, files=())
    assert proxy.times == 0
    assert store.result(CELL) == done
    with pytest.raises(LostLeaseError):
        store.publish(CELL, {"accuracy": 60.0}, files=())


@pytest.mark.faults
def test_a_server_that_is_away_for_a_while_is_waited_for(url: str, proxy: Proxy) -> None:
    store = CellStore(open_storage(url))
    proxy.down()
    back = threading.Timer(1.5, proxy.up)
    back.start()
    done = store.publish(CELL, {"accuracy": 50.0}, files=())
    assert store.result(CELL) == done
    back.join()


@pytest.mark.faults
def test_credentials_that_expire_are_said_and_what_is_done_stays(url: str, proxy: Proxy) -> None:
    store = CellStore(open_storage(url))
    store.publish(CELL, {"accuracy": 50.0}, files=())
    proxy.said, proxy.mode = (403, error("ExpiredToken")), "say"
    with pytest.raises(StorageError, match="credentials have expired; what is done stays") as told:
        store.publish(PROBE, {"accuracy": 60.0}, files=())
    assert told.value.exit_code == 5
    assert SECRET not in str(told.value)
    proxy.mode = "pass"
    assert store.result(CELL) is not None
    assert CellStore(open_storage(url)).result(PROBE) is None


def test_a_second_look_asks_for_a_list_and_for_what_changed(
    url: str, proxy: Proxy, elsewhere: Callable[[str], None]
) -> None:
    cells = [f"{number:016x}" for number in range(30)]
    for cell in cells[:29]:
        CellStore(open_storage(url)).publish(cell, {"accuracy": 50.0}, files=())
    elsewhere("there")
    first = looked(url, proxy, cells[:29])
    assert {key for method, key in first if method == "GET"} == done_files(cells[:29])
    again = looked(url, proxy, cells[:29])
    # a list of all, and the server's clock: a file is put, listed and removed
    assert [method for method, _ in again] == ["LIST", "PUT", "LIST", "POST"]
    elsewhere("here")
    CellStore(open_storage(url)).publish(cells[29], {"accuracy": 50.0}, files=())
    elsewhere("there")
    after = looked(url, proxy, cells)
    assert {key for method, key in after if method == "GET"} == done_files(cells[29:])
    assert len(after) == len(again) + 1


def done_files(cells: Sequence[str]) -> set[str]:
    return {f"cells/{cell}/DONE.json" for cell in cells}


def looked(url: str, proxy: Proxy, cells: Sequence[str]) -> list[tuple[str, str]]:
    """Read all results as a new command does; return what it asked the server for."""
    proxy.heard.clear()
    _mirror.cache_clear()
    root = open_storage(url)
    refresh(root)
    assert [CellStore(root).result(cell) is not None for cell in cells] == [True] * len(cells)
    below = f"/results/{url.rpartition('/')[2]}/"
    return [
        ("LIST", "") if "list-type" in path else (method, path.partition(below)[2])
        for method, path in (one.split(" ", 1) for one in proxy.heard)
    ]


def test_a_bundle_goes_into_an_object_store_and_out_of_it_on_another_machine(
    url: str, elsewhere: Callable[[str], None], tmp_path: Path
) -> None:
    cells = make_cells(imbalances=(1,), noise_rates=(0.4,), seeds=(0,))
    write_grid(tmp_path / "from", cells)
    for cell in cells:
        finish(tmp_path / "from", cell, 50.0)
    make_bundle(tmp_path / "from", "small", tmp_path / "a.zip", Wanted(), lambda line: None)
    taken = take_bundle(tmp_path / "a.zip", open_storage(url))
    assert (taken.new["cells"], taken.new["probes"], taken.refused) == (2, 1, [])
    elsewhere("there")
    make_bundle(open_storage(url), "small", tmp_path / "b.zip", Wanted(), lambda line: None)
    assert verify_bundle(tmp_path / "b.zip").is_whole
    take_bundle(tmp_path / "b.zip", tmp_path / "to")
    for path in (tmp_path / "from").glob("[cp]*/*/*"):
        if not path.name.startswith("lease-"):
            copy = tmp_path / "to" / path.relative_to(tmp_path / "from")
            assert copy.read_bytes() == path.read_bytes(), path
