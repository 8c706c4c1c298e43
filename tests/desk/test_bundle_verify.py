"""`curvetune verify`: whatever was changed in a bundle is found and named."""

import hashlib
import json
import random
import re
import shutil
import stat
import zipfile
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest
from bundled import (
    GRID,
    PLUGIN,
    bundle,
    changed,
    inside,
    place_of,
    rewritten,
    run,
    small_bundle,
)
from storage_fixtures import finish, make_cells, write_grid

from curvetune.bundles.reader import Reader
from curvetune.bundles.verify import verify_bundle
from curvetune.errors import ConfigError, CorruptError
from curvetune.plugins import load
from curvetune.store.files import sealed

Files = dict[str, bytes]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle whose storage is gone."""
    folder = tmp_path_factory.mktemp("bundle")
    path = small_bundle(folder)
    shutil.rmtree(folder / "from")
    return path


@pytest.fixture
def mine(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(whole, tmp_path))


def listed(files: Files) -> Files:
    """Bring bundle.json up to date with what was changed: what a forger does."""
    about = json.loads(files["bundle.json"])
    others = {path: content for path, content in files.items() if path != "bundle.json"}
    about["contents"] = {
        path: {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
        for path, content in others.items()
    }
    return {**others, "bundle.json": json.dumps(about).encode()}


def test_a_bundle_is_verified_without_the_storage_that_it_is_from(mine: Path) -> None:
    done = run("verify", mine)
    assert done.code == 0
    assert f"{mine}: whole; " in done.stdout
    assert "its 24 tables come out of its cells again" in done.stdout
    assert "grid small: 8 of 8 cells, 4 probes" in done.stdout
    told = json.loads(run("verify", mine, "--json").stdout)
    assert (told["whole"], told["problems"], told["tables"]) == (True, [], 24)
    assert told["sha256"] in done.stdout


def test_a_changed_byte_of_any_file_is_found_and_its_file_is_named(mine: Path) -> None:
    files = inside(mine)
    for path in files:
        if not files[path]:
            continue
        found = run("verify", changed(mine, place_of(mine, path)))
        assert found.code == 5, path
        assert path in found.stderr, path


def test_a_changed_byte_anywhere_else_is_found_too(mine: Path) -> None:
    size = mine.stat().st_size
    with zipfile.ZipFile(mine) as file:
        directory = file.start_dir
        headers = [info.header_offset for info in file.infolist()]
    draw = random.Random(0)
    places = {*draw.sample(range(size), 150), *draw.sample(range(directory, size), 150)}
    places |= {start + k for start in draw.sample(headers, 5) for k in range(0, 30, 3)}
    for place in sorted(places | {size - 1, size - 64, size - 65, size - 70}):
        try:
            found = verify_bundle(changed(mine, place))
        except (CorruptError, ConfigError):
            continue
        assert found.problems, place


def test_the_zips_own_directory_is_named_where_no_file_was_changed(mine: Path) -> None:
    with zipfile.ZipFile(mine) as file:
        header = file.infolist()[3].header_offset
    found = verify_bundle(changed(mine, header + 10))  # the time of a file
    assert found.problems == [
        "the zip's own directory: bytes of it were changed or cut off, and no file inside was; "
        "copy the bundle again"
    ]


def test_a_table_that_does_not_come_out_of_the_cells_is_found_though_all_digests_fit(
    mine: Path,
) -> None:
    def better(files: Files) -> Files:
        table = files["tables/ma.csv"]
        assert b"curvenet,64.0," in table
        return listed({**files, "tables/ma.csv": table.replace(b"net,64.0,", b"net,74.0,")})

    found = verify_bundle(rewritten(mine, better))
    assert found.problems == ["tables/ma.csv: its cells make another table"]
    assert verify_bundle(rewritten(mine, dict)).is_whole


def test_a_cell_whose_numbers_were_changed_is_found_by_its_tables(mine: Path) -> None:
    def better(files: Files) -> Files:
        path = next(p for p in files if p.endswith("DONE.json"))
        done = json.loads(files[path])
        done["accuracy"] += 5
        return listed({**files, path: (json.dumps(sealed(done), indent=1) + "\n").encode()})

    found = verify_bundle(rewritten(mine, better))
    assert "tables/cells.csv: its cells make another table" in found.problems


def test_a_bundle_of_the_best_epochs_is_verified_as_one(tmp_path: Path) -> None:
    cells = make_cells(imbalances=(1,), noise_rates=(0.4,), seeds=(0,))
    write_grid(tmp_path, cells)
    for cell in cells:
        finish(tmp_path, cell, 50.0)
    done = run("bundle", GRID, tmp_path / "out.zip", "--select", "best", "--storage", tmp_path)
    assert done.code == 0
    assert b"curvenet,51.0," in inside(tmp_path / "out.zip")["tables/ma.csv"]
    assert verify_bundle(tmp_path / "out.zip").is_whole


def older(change: Callable[[Files], Files]) -> Callable[[Files], Files]:
    """Return what makes a bundle one of another version of curvetune, and changes tables."""

    def made(files: Files) -> Files:
        about = json.loads(files["bundle.json"])
        about["made_by"]["tables"] = "0" * 16
        return listed({**files, **change(files), "bundle.json": json.dumps(about).encode()})

    return made


def test_of_a_table_of_another_version_the_numbers_of_means_are_compared(mine: Path) -> None:
    def other_words(files: Files) -> Files:
        return {
            "tables/ma.md": files["tables/ma.md"].replace(b"mean accuracy", b"average accuracy"),
            "tables/ma.csv": files["tables/ma.csv"].replace(b"64.0,", b"64.00000000001,"),
            "tables/significance.csv": files["tables/significance.csv"].replace(b"p_holm", b"q"),
            "tables/seeds.csv": files["tables/seeds.csv"].replace(b",low,", b",lower,"),
        }

    found = verify_bundle(rewritten(mine, older(other_words)))
    assert found.is_whole
    assert found.tables == 5
    assert found.notes == [
        "another version of curvetune made the tables: the numbers of 5 are compared, as CSV; 19 "
        "others, which it may make in another way, are not"
    ]


def test_a_number_that_was_made_up_is_found_though_another_version_made_the_table(
    mine: Path,
) -> None:
    def better(files: Files) -> Files:
        return {"tables/ma.csv": files["tables/ma.csv"].replace(b"net,64.0,", b"net,74.0,")}

    found = verify_bundle(rewritten(mine, older(better)))
    assert found.problems == ["tables/ma.csv: its cells make another table"]


def test_a_missing_or_an_added_file_is_named(mine: Path) -> None:
    lost = "tables/cells.csv"

    def without(files: Files) -> Files:
        del files[lost]
        return {**files, "tables/more.csv": b"1"}

    assert verify_bundle(rewritten(mine, without)).problems == [
        "tables/more.csv: bundle.json does not list it",
        f"{lost}: it is missing",
    ]


def test_a_bundle_that_was_cut_off_says_so(mine: Path) -> None:
    content = mine.read_bytes()
    for length in (0, 1, 21, 1000, len(content) // 2, len(content) - 200, len(content) - 1):
        mine.write_bytes(content[:length])
        done = run("verify", mine)
        assert done.code == 5
        assert re.search(r"copy (it|the bundle) again", done.stderr)


def test_what_is_no_bundle_is_refused(tmp_path: Path, mine: Path) -> None:
    (tmp_path / "text.zip").write_text("not a zip")
    assert run("verify", tmp_path / "text.zip").code == 5
    assert run("verify", tmp_path / "none.zip").code == 2
    assert run("verify", tmp_path).code == 2
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as file:
        file.writestr("a/b.txt", "text")
    assert "not that of a bundle" in run("verify", tmp_path / "other.zip").stderr

    def newer(files: Files) -> Files:
        about = {**json.loads(files["bundle.json"]), "schema_version": 2}
        return {**files, "bundle.json": json.dumps(about).encode()}

    with pytest.raises(ConfigError, match="a bundle of version 2; allowed is 1"):
        verify_bundle(rewritten(mine, newer))


def add(name: str, content: bytes = b"x", **fields: int) -> Callable[[Path], None]:
    """Return what adds a file to a zip that no bundle has."""

    def added(path: Path) -> None:
        info = zipfile.ZipInfo(name)
        for key, value in fields.items():
            setattr(info, key, value)
        with zipfile.ZipFile(path, "a") as file:
            file.writestr(info, content)

    return added


CELL = "0123456789abcdef"


@pytest.mark.parametrize(
    ("harm", "why"),
    [
        (add(f"{GRID}/../../outside.txt"), "a bundle has no such file"),
        (add("/etc/outside.txt"), "a bundle has no such file"),
        (add(f"{GRID}/storage/cells/{CELL}/../../x.json"), "a bundle has no such file"),
        (add(f"{GRID}/storage/cells/{CELL}/state.pkl"), "a bundle has no such file"),
        (add(f"{GRID}/storage/cells/{CELL}/"), "a bundle has no such file"),
        (
            add(
                f"{GRID}/storage/cells/{CELL}/config.json",
                b"/etc/passwd",
                external_attr=(stat.S_IFLNK | 0o777) << 16,
            ),
            "it is no plain file",
        ),
        (
            add(
                f"{GRID}/storage/probes/{CELL}/curves.npy",
                bytes(5_000_000),
                compress_type=zipfile.ZIP_DEFLATED,
            ),
            "arrays are not deflated in a bundle",
        ),
        (add(f"{GRID}/README.md", compress_type=zipfile.ZIP_LZMA), "there twice"),
    ],
)
def test_a_file_that_is_meant_to_harm_is_named_and_never_read(
    mine: Path, harm: Callable[[Path], None], why: str
) -> None:
    with pytest.warns(UserWarning, match="Duplicate") if "twice" in why else nullcontext():
        harm(mine)
    found = verify_bundle(mine)
    assert [line for line in found.problems if why in line]
    assert not list(mine.parent.rglob("outside.txt"))


def test_a_small_file_that_claims_huge_texts_is_refused_before_they_are_read(mine: Path) -> None:
    with zipfile.ZipFile(mine, "a", zipfile.ZIP_DEFLATED) as file:
        for k in range(4):
            file.writestr(f"{GRID}/tables/{k}.csv", bytes(50_000_000))
    assert mine.stat().st_size < 1_000_000
    with pytest.raises(CorruptError, match="its texts are to be 200,"):
        Reader(mine)


def test_nothing_of_a_bundle_is_run(tmp_path: Path) -> None:
    mark = tmp_path / "it-ran"
    source = f"{PLUGIN}\nfrom pathlib import Path\nPath({str(mark)!r}).touch()\n"
    (tmp_path / "mine.py").write_text(source)
    load.load_plugins([str(tmp_path / "mine.py")])
    root = tmp_path / "from"
    cells = make_cells([{"name": "mine"}], (1,), (0.4,), (0,))
    write_grid(root, cells)
    finish(root, cells[0], 50.0)
    bundle(root, tmp_path / "out.zip", plugins=[str(tmp_path / "mine.py")])
    assert "plugins/mine.py" in inside(tmp_path / "out.zip")
    load._forget("mine")
    mark.unlink()
    assert run("verify", tmp_path / "out.zip").code == 0
    assert run("import", tmp_path / "out.zip", "--storage", tmp_path / "to").code == 0
    assert not mark.exists()
