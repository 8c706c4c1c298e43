"""F15: a storage or a folder of images from anybody runs nothing, and reaches nothing outside."""

import contextlib
import io
import json
import os
import pickle
import re
import signal
import struct
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from storage_fixtures import finish, make_cells, write_grid

from curvetune import data
from curvetune.cell import run_cell
from curvetune.config import CellConfig
from curvetune.errors import CorruptError, CurvetuneError, StorageError
from curvetune.report.cells import read_grid
from curvetune.report.collect import report_json
from curvetune.report.tables import print_report, render
from curvetune.store import CellStore, CurveStore
from curvetune.store.files import load_arrays, publish_json, read_json, save_arrays, sha256
from curvetune.store.history import read_rows
from curvetune.train.checkpoint import Checkpoint, load_state, save_state

pytestmark = pytest.mark.faults

CELL = CellConfig.model_validate(
    {
        "data": {"name": "digits", "train_limit": 60, "test_limit": 30},
        "model": {"name": "resnet8"},
        "probe": {"epochs": 2, "cyclic_start": 1, "half_period": 1, "batch_size": 30},
        "allocate": {"epochs": 2, "batch_size": 30, "milestones": [1], "warmup": 0},
        "method": {"name": "curvenet", "meta_batch_size": 20, "removed_losses": 0},
    }
)
DIGEST = data.digest("digits")
CELL_ID, PROBE_ID, SPLIT_ID = CELL.cell_id(DIGEST), CELL.probe_id(DIGEST), CELL.split_id(DIGEST)
assert PROBE_ID is not None


class Payload:
    """Unpickling it makes the file `pwned` in the working directory."""

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return (os.system, ("touch pwned",))


BOMB = pickle.dumps(Payload())


def torch_bomb() -> bytes:
    buffer = io.BytesIO()
    torch.save({"model": Payload()}, buffer)
    return buffer.getvalue()


def numpy_bomb() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.array([Payload()], dtype=object), allow_pickle=True)
    return buffer.getvalue()


@pytest.fixture(autouse=True)
def nothing_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Check after each test that no payload ran; one that is loaded would."""
    monkeypatch.chdir(tmp_path)
    yield
    assert not Path("pwned").exists()


@pytest.fixture(autouse=True)
def nothing_hangs() -> Iterator[None]:
    signal.alarm(120)
    yield
    signal.alarm(0)


def execute(storage: Path) -> dict[str, Any]:
    images = data.load("digits")
    return run_cell(CELL, DIGEST, images, storage, device=torch.device("cpu"), checkpoint_every=1)


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    storage = tmp_path_factory.mktemp("clean")
    execute(storage)
    return storage


def copy(clean: Path, target: Path) -> Path:
    import shutil

    shutil.copytree(clean, target)
    return target


def forge(folder: Path, name: str, **changes: Any) -> None:
    """Change what a published JSON says, with a seal and checksums that are right again."""
    content = json.loads((folder / name).read_text())
    files = {file: sha256(folder / file) for file in content["files"]}
    (folder / name).unlink()
    publish_json(folder / name, content | {"files": files} | changes)


def test_the_payload_works() -> None:
    pickle.loads(BOMB)
    assert Path("pwned").exists()
    Path("pwned").unlink()


# ---------------------------------------------------------------- a pickle in place of a file


@pytest.mark.parametrize("bomb", [BOMB, torch_bomb(), numpy_bomb()], ids=["pickle", "torch", "npy"])
@pytest.mark.parametrize(
    "victim",
    [
        f"cells/{CELL_ID}/model.safetensors",
        f"cells/{CELL_ID}/samples.safetensors",
        f"cells/{CELL_ID}/DONE.json",
        f"cells/{CELL_ID}/config.json",
        f"cells/{CELL_ID}/checkpoint.safetensors",
        f"probes/{PROBE_ID}/curves.npy",
        f"probes/{PROBE_ID}/model.safetensors",
        f"probes/{PROBE_ID}/manifest.json",
        f"probes/{PROBE_ID}/checkpoint.safetensors",
        f"splits/{SPLIT_ID}.safetensors",
    ],
)
def test_a_pickle_is_refused_and_the_result_is_computed_again(
    clean: Path, tmp_path: Path, victim: str, bomb: bytes
) -> None:
    storage = copy(clean, tmp_path / "storage")
    if victim.startswith("splits") or "checkpoint" in victim:  # so that it is looked at at all
        (storage / "cells" / CELL_ID / "DONE.json").unlink()
    if victim == f"probes/{PROBE_ID}/checkpoint.safetensors":
        (storage / "probes" / str(PROBE_ID) / "manifest.json").unlink()
    if victim.startswith("probes"):
        (storage / "cells" / CELL_ID / "DONE.json").unlink(missing_ok=True)
    (storage / victim).write_bytes(bomb)
    found = execute(storage)
    expected = CellStore(clean).result(CELL_ID)
    assert expected is not None
    assert found["accuracy"] == expected["accuracy"]
    assert not Path("pwned").exists()
    whole = CellStore(storage).result(CELL_ID)
    assert whole is not None
    assert whole["accuracy"] == expected["accuracy"]


def test_curves_that_are_pickled_objects_are_refused_even_with_right_checksums(
    clean: Path, tmp_path: Path
) -> None:
    storage = copy(clean, tmp_path / "storage")
    folder = storage / "probes" / str(PROBE_ID)
    (folder / "curves.npy").write_bytes(numpy_bomb())
    forge(folder, "manifest.json")
    assert not CurveStore(storage).has(str(PROBE_ID))
    with pytest.raises(CorruptError, match=r"curves\.npy"):
        CurveStore(storage).read(str(PROBE_ID))


# ---------------------------------------------------------------- names that are paths


@pytest.mark.parametrize(
    "name",
    [
        "../../secret",
        "/etc/passwd",
        "..",
        ".",
        "",
        "a/b",
        "nul\0",
        "x" * 5000,
        "../model.safetensors",
    ],
)
def test_a_list_of_files_names_files_of_its_own_folder_or_is_refused(
    clean: Path, tmp_path: Path, name: str
) -> None:
    storage = copy(clean, tmp_path / "storage")
    (tmp_path / "secret").write_text("x")
    (storage / "secret").write_text("x")
    folder = storage / "cells" / CELL_ID
    forge(folder, "DONE.json", files={name: sha256(storage / "secret")})
    assert CellStore(storage).result(CELL_ID) is None


@pytest.mark.parametrize("files", [None, 5, "x", ["model.safetensors"], {"config.json": 5}])
def test_a_list_of_files_that_is_none_is_refused(clean: Path, tmp_path: Path, files: Any) -> None:
    storage = copy(clean, tmp_path / "storage")
    forge(storage / "cells" / CELL_ID, "DONE.json", files=files)
    assert CellStore(storage).result(CELL_ID) is None


ODD_IDS = ["../../../outside", "/tmp/outside", "..", "0123456789ABCDEF", "0" * 17, "", 5, None, []]


@pytest.mark.parametrize("key", ["cell_id", "probe_id"])
@pytest.mark.parametrize("odd", ODD_IDS)
def test_the_record_of_a_grid_with_an_id_that_is_none_is_refused(
    tmp_path: Path, key: str, odd: Any
) -> None:
    if key == "probe_id" and odd is None:
        pytest.skip("a method without a probe")
    write_grid(tmp_path, make_cells(seeds=[0]))
    path = tmp_path / "grids" / "small.json"
    record = json.loads(path.read_text())
    record["cells"][1][key] = odd
    path.write_text(json.dumps(record))
    for read in (read_grid, report_json):
        with pytest.raises(CorruptError, match=r"small\.json: not the record of a grid"):
            read(tmp_path, "small")


@pytest.mark.parametrize(
    "change",
    [
        {"cells": None},
        {"cells": 5},
        {"cells": ["x"]},
        {"cells": [{}]},
        {"cells": [{"cell_id": "0" * 16, "probe_id": None, "config": {}}]},
        {"cells": [{"cell_id": "0" * 16, "probe_id": None, "config": []}]},
        {"cells": [{"cell_id": "0" * 16, "probe_id": None, "config": {"data": {"name": 5}}}]},
    ],
)
def test_a_record_that_is_none_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    write_grid(tmp_path, make_cells(seeds=[0]))
    path = tmp_path / "grids" / "small.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(CorruptError, match=r"small\.json: not the record of a grid"):
        read_grid(tmp_path, "small")


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "a/b", "..", ".hidden", "", "a\nb"])
def test_a_grid_has_the_name_of_a_file(tmp_path: Path, name: str) -> None:
    store = CellStore(tmp_path / "storage")
    with pytest.raises(CurvetuneError):
        store.write_grid(name, {"cells": []})
    with pytest.raises(CurvetuneError):
        store.read_grid(name)
    assert list(tmp_path.iterdir()) == []


def test_a_result_that_was_copied_from_another_cell_is_not_this_ones(
    clean: Path, tmp_path: Path
) -> None:
    storage = copy(clean, tmp_path / "storage")
    other = "0123456789abcdef"
    for kind in ("cells", "probes"):
        (only,) = (storage / kind).iterdir()
        only.rename(storage / kind / other)
    assert CellStore(storage).result(other) is None
    assert not CurveStore(storage).has(other)


# ---------------------------------------------------------------- links, pipes and devices


def _link_to_a_copy(path: Path, outside: Path) -> None:
    outside.write_bytes(path.read_bytes())
    path.unlink()
    path.symlink_to(outside)


def _link_to_zeros(path: Path, outside: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


def _pipe(path: Path, outside: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _folder(path: Path, outside: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("replace", [_link_to_a_copy, _link_to_zeros, _pipe])
@pytest.mark.parametrize(
    "victim",
    ["DONE.json", "model.safetensors", "config.json", "history.jsonl", "samples.safetensors"],
)
def test_what_is_no_file_in_the_folder_of_a_cell_is_not_read_and_is_replaced(
    clean: Path, tmp_path: Path, victim: str, replace: Callable[[Path, Path], None]
) -> None:
    storage, outside = copy(clean, tmp_path / "storage"), tmp_path / "outside"
    replace(storage / "cells" / CELL_ID / victim, outside)
    before = outside.read_bytes() if outside.exists() else b""
    assert CellStore(storage).result(CELL_ID) is None
    execute(storage)
    assert CellStore(storage).result(CELL_ID) is not None
    assert not (storage / "cells" / CELL_ID / victim).is_symlink()
    assert (outside.read_bytes() if outside.exists() else b"") == before


@pytest.mark.parametrize("replace", [_link_to_a_copy, _link_to_zeros, _pipe, _folder])
def test_no_reader_follows_a_link_or_waits_for_a_pipe(
    tmp_path: Path, replace: Callable[[Path, Path], None]
) -> None:
    path, outside = tmp_path / "file", tmp_path / "outside"
    save_state(path, {"epoch": 1})
    replace(path, outside)
    for read in (load_arrays, load_state, read_json, sha256):
        with pytest.raises(CorruptError, match="file"):
            read(path)
    with pytest.raises(ValueError, match="file"):
        read_rows(path)
    assert Checkpoint(path, 1).load() is None


@pytest.mark.parametrize("level", ["cells", f"cells/{CELL_ID}", "splits", "probes"])
def test_a_folder_that_leads_out_of_the_storage_is_refused_before_anything_is_written(
    clean: Path, tmp_path: Path, level: str
) -> None:
    storage, outside = copy(clean, tmp_path / "storage"), tmp_path / "outside"
    (storage / level).rename(outside)
    (storage / level).symlink_to(outside)
    if level != f"cells/{CELL_ID}" and level != "cells":
        (storage / "cells" / CELL_ID / "DONE.json").unlink()
    before = sorted(outside.rglob("*"))
    with pytest.raises(StorageError, match="a link that leads out of the storage"):
        execute(storage)
    assert sorted(outside.rglob("*")) == before


def test_a_link_within_the_storage_and_to_the_whole_of_it_is_followed(
    clean: Path, tmp_path: Path
) -> None:
    storage = copy(clean, tmp_path / "storage")
    (storage / "cells").rename(storage / "more")
    (storage / "cells").symlink_to("more")
    (tmp_path / "link").symlink_to("storage")
    for root in (storage, tmp_path / "link"):
        assert CellStore(root).result(CELL_ID) is not None


def test_a_record_of_a_grid_that_is_a_link_is_not_read(tmp_path: Path) -> None:
    write_grid(tmp_path / "storage", make_cells(seeds=[0]))
    path = tmp_path / "storage" / "grids" / "small.json"
    _link_to_a_copy(path, tmp_path / "outside")
    with pytest.raises(CorruptError, match="a link, which is not followed"):
        read_grid(tmp_path / "storage", "small")
    (tmp_path / "storage" / "grids").rename(tmp_path / "grids")
    (tmp_path / "storage" / "grids").symlink_to(tmp_path / "grids")
    with pytest.raises(StorageError, match="a link that leads out"):
        CellStore(tmp_path / "storage").write_grid("small", {"cells": []})


# ---------------------------------------------------------------- JSON and safetensors that lie


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"[" * 1_000_000, id="deep lists"),
        pytest.param(b'{"a":' * 100_000 + b"1" + b"}" * 100_000, id="deep objects"),
        pytest.param(b'{"a":' * 400 + b"1" + b"}" * 400, id="deep enough to be read, not written"),
        pytest.param(b'{"schema_version": 2, "accuracy": NaN, "sha256": "x"}', id="NaN"),
        pytest.param(b'{"a": ' + b"9" * 10_000 + b"}", id="an absurd number"),
        pytest.param(b"\xff\xfe{", id="no UTF-8"),
        pytest.param(b"[]", id="no object"),
        pytest.param(b"", id="nothing"),
        pytest.param(b"{" + b'"a": 1,' * 100_000 + b'"a": 1}', id="a key many times"),
        pytest.param(b'{"\\ud800": "\\udfff\\ud800"}', id="half characters"),
    ],
)
def test_json_that_means_harm_is_no_result(tmp_path: Path, content: bytes) -> None:
    folder = tmp_path / "cells" / CELL_ID
    folder.mkdir(parents=True)
    (folder / "DONE.json").write_bytes(content)
    assert CellStore(tmp_path).result(CELL_ID) is None
    probe = tmp_path / "probes" / str(PROBE_ID)
    probe.mkdir(parents=True)
    (probe / "manifest.json").write_bytes(content)
    assert not CurveStore(tmp_path).has(str(PROBE_ID))


def test_a_huge_json_is_refused_without_reading_it(tmp_path: Path) -> None:
    with (tmp_path / "huge.json").open("wb") as file:
        file.truncate(10**12)  # a hole: it takes no space
    with pytest.raises(CorruptError, match=r"1,000,000,000,000 bytes; allowed are"):
        read_json(tmp_path / "huge.json")


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "5", "[1]", "NaN", "{", "\0"])
def test_a_history_that_means_harm_is_a_value_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "history.jsonl").write_text(text + "\n")
    with pytest.raises(ValueError, match=r"history|Expecting|Extra|Nothing|nan|NaN"):
        read_rows(tmp_path / "history.jsonl")


def header(size: int, text: bytes, body: bytes = b"") -> bytes:
    return struct.pack("<Q", size) + text + body


def claiming(**tensor: Any) -> bytes:
    """Return a safetensors file whose header says what it likes about its one tensor."""
    inner = json.dumps({"tree": "{}", "sha256": "0" * 64})
    entry = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} | tensor
    text = json.dumps({"__metadata__": {"curvetune": inner}, "x": entry}).encode()
    return header(len(text), text, bytes(8))


def inner(value: object) -> bytes:
    text = json.dumps({"__metadata__": {"curvetune": json.dumps(value)}}).encode()
    return header(len(text), text)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(header(2**63, b"{}"), id="a header longer than any file"),
        pytest.param(header(100, b"{}"), id="a header longer than this file"),
        pytest.param(header(0, b""), id="no header"),
        pytest.param(header(2, b"[]"), id="a list"),
        pytest.param(header(20_000, b"[" * 20_000), id="a deep header"),
        pytest.param(header(4, b"null"), id="null"),
        pytest.param(claiming(data_offsets=[0, 2**62]), id="offsets beyond the end"),
        pytest.param(claiming(data_offsets=[-8, 0]), id="negative offsets"),
        pytest.param(claiming(shape=[2**40, 2**40]), id="a huge shape"),
        pytest.param(claiming(shape=[-2]), id="a negative shape"),
        pytest.param(claiming(dtype="OBJECT"), id="an unknown type"),
        pytest.param(claiming(dtype="F8_E5M2", shape=[8]), id="a type that NumPy lacks"),
        pytest.param(claiming(), id="a wrong checksum"),
        pytest.param(inner(5), id="metadata that is a number"),
        pytest.param(inner({"tree": 5, "sha256": ""}), id="a tree that is a number"),
        pytest.param(inner({"tree": None}), id="no tree"),
    ],
)
def test_a_safetensors_file_that_lies_is_corrupt(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file.safetensors").write_bytes(content)
    for read in (load_arrays, load_state):
        with pytest.raises(CorruptError, match=r"file\.safetensors"):
            read(tmp_path / "file.safetensors")


@pytest.mark.parametrize(
    "tree",
    [
        {},
        {"state": {"tensor": "nowhere"}},
        {"state": {"tensor": []}},
        {"state": {"dict": 5}},
        {"state": {"dict": [[1]]}},
        {"state": {"a": 1, "b": 2}},
        {"state": {}},
        {"state": {"dict": [[{"a": 1}, 2]]}},
    ],
)
def test_a_state_that_is_none_is_corrupt_though_its_checksum_is_right(
    tmp_path: Path, tree: dict[str, Any]
) -> None:
    save_arrays(tmp_path / "state", {}, tree)
    with pytest.raises(CorruptError, match="state"):
        load_state(tmp_path / "state")
    assert Checkpoint(tmp_path / "state", 1).load() is None


@pytest.mark.parametrize("arrays", [{}, {"meta": [0]}, {name: [[0]] for name in ("meta", "y")}])
def test_a_split_that_is_none_is_made_again(
    clean: Path, tmp_path: Path, arrays: dict[str, Any]
) -> None:
    storage = copy(clean, tmp_path / "storage")
    (storage / "cells" / CELL_ID / "DONE.json").unlink()
    path = storage / "splits" / f"{SPLIT_ID}.safetensors"
    before = path.read_bytes()
    save_arrays(path, {name: np.array(values) for name, values in arrays.items()})
    execute(storage)
    assert path.read_bytes() == before


# ---------------------------------------------------------------- names that are markup


NAMES = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "[red]a[/red][link=file:///etc/passwd]b[/link]",
    "[/]:bomb:",
    "\x1b[31m\x1b]0;title\x07",
    "a|b`c`\r\nd",
    "](javascript:alert(1))",
    "\ud800",
    r"\input{/etc/passwd} \\ & % $ #",
)


def hostile_storage(root: Path, text: str) -> None:
    cells = make_cells(methods=[{"name": "cross-entropy"}, {"name": "focal"}], seeds=[0])
    for cell in cells:
        finish(root, cell, 50.0)
    write_grid(root, cells)
    path = root / "grids" / "small.json"
    record = json.loads(path.read_text())
    for entry in record["cells"]:
        config = entry["config"]
        config["method"] |= {"name": text, "recipe": text}
        config["data"]["name"] = config["model"]["name"] = config["bias"]["noise"] = text
    record["cells"][0]["config"]["method"]["other"] = text
    record["command"] = text
    path.write_text(json.dumps(record))


def terminal(do: Callable[[Console], None]) -> str:
    """Return what `do` prints on a terminal with colours."""
    from curvetune.report.console import plain_console

    text = io.StringIO()
    do(plain_console(file=text, force_terminal=True, width=2000))
    return text.getvalue()


STYLE = re.compile(r"\x1b\[[0-9;]*m")  # bold, dim and the colours of the states


@pytest.mark.parametrize("text", NAMES)
def test_a_report_on_a_terminal_shows_names_letter_by_letter(tmp_path: Path, text: str) -> None:
    hostile_storage(tmp_path, text)
    shown = terminal(lambda console: print_report(tmp_path, "small", console))
    plain = STYLE.sub("", shown)
    assert "\x1b" not in plain
    assert "\r" not in plain
    assert "\x07" not in plain
    assert "\x1b[31m" not in shown
    assert "\x1b]8" not in shown  # a link
    if text.isprintable():
        assert text in plain
    shown.encode()


@pytest.mark.parametrize("text", NAMES)
def test_status_shows_names_letter_by_letter(tmp_path: Path, text: str) -> None:
    from curvetune.report.activity import grid_progress
    from curvetune.report.status import live_view, print_status, progress_json

    hostile_storage(tmp_path, text)
    store, cells = CellStore(tmp_path), read_grid(tmp_path, "small").cells
    (store.folder(cells[0].cell_id) / "DONE.json").unlink()
    store.fail(cells[0].cell_id, f"ValueError: {text}", f"Traceback\n  {text}")
    progress = grid_progress(read_grid(tmp_path, "small"))

    def show(console: Console) -> None:
        print_status(progress, console, tmp_path)
        console.print(live_view(progress, 10))

    shown = terminal(show)
    plain = STYLE.sub("", shown)
    assert "\x1b" not in plain
    assert "\r" not in plain
    assert "\x1b]8" not in shown
    if text.isprintable():
        assert text in plain
    shown.encode()
    assert json.loads(json.dumps(progress_json(progress, tmp_path)))


@pytest.mark.parametrize("text", NAMES)
def test_markdown_and_latex_escape_what_they_would_read(tmp_path: Path, text: str) -> None:
    hostile_storage(tmp_path, text)
    shown = render(tmp_path, "small", "markdown")
    assert "<" not in shown
    assert "](" not in shown
    rows = [line for line in shown.splitlines() if line.startswith("|")]
    assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows if "MA" in rows[0]}) <= 2
    latex = render(tmp_path, "small", "latex")
    assert r"\input" not in latex
    render(tmp_path, "small", "csv")
    for form in ("markdown", "latex", "csv"):
        assert "\x1b" not in render(tmp_path, "small", form)


def test_every_console_of_the_package_takes_text_for_text() -> None:
    package = Path(sys.modules["curvetune"].__file__ or "").parent
    made = [
        f"{path.relative_to(package)}: {line.strip()}"
        for path in package.rglob("*.py")
        for line in path.read_text(encoding="utf-8").splitlines()
        if re.search(r"\bConsole\(", line) and path.name != "console.py"
    ]
    assert made == []


@pytest.mark.parametrize("text", NAMES)
def test_the_names_of_grids_are_listed_letter_by_letter(
    tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from curvetune.cli.report import status

    write_grid(tmp_path, make_cells(seeds=[0]))
    name = text.replace("/", "_").replace("\ud800", "\udcff")
    grids = tmp_path / "grids"
    (grids / "small.json").rename(grids / f"{name}.json")
    with contextlib.suppress(CurvetuneError):
        status(storage=tmp_path)
    shown = capsys.readouterr().out
    assert "\x1b" not in STYLE.sub("", shown)
    shown.encode()
