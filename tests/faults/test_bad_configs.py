"""F12: bad configs end before anything starts, and say which value of which key in which file."""

import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from refusals import GOOD, plan, refusal

from curvetune.config.load import MAX_DEPTH, parse_yaml
from curvetune.errors import ConfigError

pytestmark = pytest.mark.faults

LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "\n".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)

# The text of space.yaml, and what the message says beside its name.
FILES = {
    "an unknown section": ("base: {dat: {name: digits}}\ngrid: {seed: [0]}", "dat: unknown key"),
    "an unknown option": (
        "base: {probe: {epoch: 3}}\ngrid: {seed: [0]}",
        "probe.epoch: unknown key, got 3; allowed are batch_size",
    ),
    "an unknown top-level key": ("gird: {seed: [0]}", "gird: unknown key"),
    "an unknown axis": (
        "grid: {imbalence: [1]}",
        "grid: unknown key 'imbalence' (did you mean 'imbalance'?)",
    ),
    "an ambiguous axis": ("grid: {epochs: [1]}", "'epochs' is ambiguous; write one of probe.epo"),
    "an axis by two names": (
        "grid: {imbalance: [1], bias.imbalance: [2]}",
        "grid: 'bias.imbalance' is given twice, since it is bias.imbalance",
    ),
    "a key twice": ("grid: {seed: [0], seed: [1]}", "the key 'seed' is given twice"),
    "the grid twice": ("grid: {seed: [0]}\ngrid: {seed: [1]}", "line 2, column 1"),
    "the methods twice": (
        "grid:\n  method: [{name: focal}]\n  method: [{name: curvenet}]",
        "the key 'method' is given twice",
    ),
    "an option twice in an entry": (
        "grid: {method: [{name: focal, name: curvenet}]}",
        "the key 'name' is given twice",
    ),
    "words for a number": (
        "grid: {imbalance: [ten]}",
        "bias.imbalance: Input should be a valid num",
    ),
    "a list for a number": ("base: {seed: [1]}\ngrid: {imbalance: [1]}", "seed: Input should be a"),
    "a fraction for a seed": (
        "grid: {seed: [0.5]}",
        "seed: Input should be a valid integer, got a",
    ),
    "a word for a seed": ("grid: {seed: [first]}", "seed: Input should be a valid integer"),
    "a date for a seed": ("grid: {seed: [2024-01-01]}", "seed: Input should be a valid integer"),
    "true for a seed": ("grid: {seed: [yes]}", "seed=True; allowed are numbers"),
    "true for a number": ("grid: {noise_rate: [true]}", "noise_rate=True; allowed are numbers"),
    "true in a list of numbers": (
        "base: {allocate: {milestones: [true, 100]}}\ngrid: {seed: [0]}",
        "allocate: milestones=[True, 100]; allowed are numbers",
    ),
    "a negative seed": (
        "grid: {seed: [-1]}",
        "seed: Input should be greater than or equal to 0, g",
    ),
    "an endless seed": ("grid: {seed: [" + "9" * 30 + "]}", "seed: Input should be less than 9223"),
    "an absurd number": ("grid: {seed: [" + "9" * 5000 + "]}", "Exceeds the limit"),
    "NaN": (
        "grid: {imbalance: [.nan]}",
        "bias.imbalance: Input should be a finite number, got nan",
    ),
    "infinity": ("grid: {imbalance: [.inf]}", "bias.imbalance: Input should be a finite number"),
    "an infinite rate": (
        "base: {allocate: {lr: .inf}}\ngrid: {seed: [0]}",
        "allocate.lr: Input should be a finite number, got inf",
    ),
    "imbalance below 1": (
        "grid: {imbalance: [0.5]}",
        "bias.imbalance: Input should be greater than",
    ),
    "negative noise": (
        "grid: {noise_rate: [-0.1]}",
        "bias.noise_rate: Input should be greater than",
    ),
    "noise of 1": (
        "grid: {noise_rate: [1.0]}",
        "bias.noise_rate: Input should be less than 1, got 1",
    ),
    "an unknown noise": ("grid: {noise: [flipp]}", "bias.noise: got 'flipp'; allowed are"),
    "real noise at a rate": (
        "grid: {noise: [real], noise_rate: [0.2]}",
        "noise=real adds no wrong label",
    ),
    "an unknown method": ("grid: {method: [{name: curvnet}]}", "did you mean 'curvenet'?"),
    "a method without a name": (
        "grid: {method: [{skip_layers: 0}]}",
        "method.name: unknown method {",
    ),
    "a method that is a word": (
        "grid: {method: [focal]}",
        "method: got 'focal'; allowed is a mapping",
    ),
    "methods that are no list": ("grid: {method: {name: focal}}", "grid.method: Input should be a"),
    "an option of another method": (
        "grid: {method: [{name: curvenet, gama: 2}]}",
        "method.curvenet.gama: unknown key, got 2",
    ),
    "a negative size": (
        "base: {data: {train_limit: 0}}\ngrid: {seed: [0]}",
        "data.train_limit: Inp",
    ),
    "a size for images that have one": ("grid: {image_size: [64]}", "image_size=64: the images of"),
    "two sizes of images": (
        "base: {data: {name: folder}}\ngrid: {image_size: [32, 64]}",
        "images of one size, got 32, 64",
    ),
    "no epochs": (
        "base: {probe: {epochs: 0}}\ngrid: {seed: [0]}",
        "probe.epochs: Input should be gr",
    ),
    "milestones that fall": (
        "base: {allocate: {milestones: [9, 3]}}\ngrid: {seed: [0]}",
        "milestones must rise, got [9, 3]",
    ),
    "nothing left of a curve": (
        "base: {probe: {epochs: 5}}\ngrid: {method: [{name: curvenet}]}",
        "removed_losses=5 leaves nothing of the 5 epochs",
    ),
    "a section that is a number": (
        "base: {bias: 3}\ngrid: {imbalance: [1]}",
        "bias: got 3; allowed is a mapping of options",
    ),
    "a section that is empty": (
        "base: {bias: }\ngrid: {imbalance: [1]}",
        "bias: got None; allowed is a map",
    ),
    "an axis that is a number": (
        "grid: {seed: 0}",
        "grid.seed: Input should be a valid list, got 0",
    ),
    "an axis named by a number": ("grid: {1: [0]}", "grid.1.[key]: Input should be a valid string"),
    "an empty axis": ("grid: {seed: []}", "seed has no value, so the grid is empty"),
    "an empty grid": ("grid: {}", "grid: Dictionary should have at least 1 item"),
    "no grid": ("base: {data: {name: digits}}", "grid: Field required"),
    "an empty file": ("", "holds None; a mapping with keys is needed"),
    "a list": ("- 1", "holds [1]; a mapping with keys is needed"),
    "a million cells": (
        f"grid: {{seed: {list(range(1000))}, imbalance: {list(range(1, 1001))}}}",
        "more than 100,000 cells, which are allowed: seed has 1,000, bias.imbalance has 1,000",
    ),
    "a million cells in an entry": (
        f"grid: {{method: [{{name: curvenet, skip_layers: {[0] * 1000}, floor: {[0] * 1000}}}]}}",
        "more than 100,000 cells, which are allowed: method has 1,000,000",
    ),
    "a thousand mistakes": (
        "base: {" + ", ".join(f"k{k}: 1" for k in range(1000)) + "}\ngrid: {seed: [0]}",
        "and 980 more",
    ),
    "a very long key": (f"grid: {{? {'k' * 50_000} : [1]}}", "unknown key 'kkkk"),
    "a very long value": (f"grid: {{noise: [{'n' * 50_000}]}}", "bias.noise: got 'nnnn"),
    "a key with codes for a terminal": (
        'grid: {"\\e[31mseed": [1]}',
        r"unknown key '\x1b[31mseed'",
    ),
    "a key in other letters": ("grid: {sęed: [1]}", "unknown key 'sęed' (did you mean 'seed'?)"),
    "broken YAML": ("grid: [", "not valid YAML: while parsing a flow node"),
    "tabs": ("grid:\n\tseed: [0]", "found character '\\t' that cannot start any token"),
    "two documents": (f"{GOOD}\n---\n{GOOD}", "expected a single document"),
    "a bomb of aliases": (f"{LAUGHS}\ngrid: {{seed: *i}}", "more than 100,000 values, aliases exp"),
    "an alias of itself": ("grid: &g {seed: [*g]}", "an alias of what holds it"),
    "a Python object": (
        "grid: {seed: [!!python/object/apply:os.system ['touch pwned']]}",
        "could not determine a constructor for the tag",
    ),
    "a wrong tag": ("grid: {seed: [!!int none]}", "not valid YAML: invalid literal for int()"),
    "a date that is none": ("grid: {seed: [2024-13-45]}", "not valid YAML: month must be in 1..12"),
    "nested too deeply": ("[" * 20_000, "not valid YAML: nested too deeply"),
    "a huge file": ("# " + "x" * 5_000_000, "longer than 100,000 bytes"),
}


def test_the_space_without_a_mistake_is_not_refused(tmp_path: Path) -> None:
    (tmp_path / "space.yaml").write_text(GOOD)
    assert len(plan(str(tmp_path / "space.yaml"), seeds="0-9").cells) == 20


@pytest.mark.parametrize("case", FILES)
def test_a_bad_file_is_refused_with_its_name_the_key_and_the_value(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, expected = FILES[case]
    monkeypatch.chdir(tmp_path)
    Path("space.yaml").write_text(text, encoding="utf-8")
    message = refusal("space.yaml")
    assert expected in message
    assert "space.yaml" in message
    assert len(message) < 10_000
    assert "\x1b" not in message
    assert os.listdir() == ["space.yaml"]


def _missing(folder: Path) -> str:
    return str(folder / "none.yaml")


def _folder(folder: Path) -> str:
    (folder / "space.yaml").mkdir()
    return str(folder / "space.yaml")


def _pipe(folder: Path) -> str:
    os.mkfifo(folder / "space.yaml")
    return str(folder / "space.yaml")


def _binary(folder: Path) -> str:
    (folder / "space.yaml").write_bytes(bytes(range(256)) * 100)
    return str(folder / "space.yaml")


def _zeros(folder: Path) -> str:
    (folder / "space.yaml").write_bytes(bytes(1000))
    return str(folder / "space.yaml")


def _latin(folder: Path) -> str:
    (folder / "space.yaml").write_bytes("grid: {seed: [0]}  # größer".encode("latin-1"))
    return str(folder / "space.yaml")


def _named(name: str) -> Callable[[Path], str]:
    def write(folder: Path) -> str:
        (folder / name).write_text(GOOD)
        return str(folder / name)

    return write


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        pytest.param(_missing, "none.yaml': there is no such file", id="missing"),
        pytest.param(_folder, "space.yaml': there is no such file", id="a folder"),
        pytest.param(_pipe, "space.yaml': there is no such file", id="a pipe"),
        pytest.param(_binary, "space.yaml: no text in UTF-8 (byte 128", id="binary"),
        pytest.param(_zeros, "space.yaml: not valid YAML: unacceptable character", id="zeros"),
        pytest.param(_latin, "space.yaml: no text in UTF-8", id="another encoding"),
        pytest.param(_named("größe.yaml"), "a grid is named like its file", id="a name in Unicode"),
        pytest.param(_named("a b;c.yaml"), "rename the file", id="a name with spaces"),
        pytest.param(_named("..yaml"), "rename the file", id="a name of dots"),
        pytest.param(_named("-rf.yaml"), "rename the file", id="a name like an option"),
        pytest.param(_named(f"{'x' * 200}.yaml"), "rename the file", id="a long name"),
        pytest.param(lambda _: f"{'x' * 5000}.yaml", "there is no such file", id="no name at all"),
        pytest.param(lambda _: "../digits", "unknown search space '../digits'", id="up"),
        pytest.param(lambda _: "/etc/passwd", "unknown search space '/etc/passwd'", id="no YAML"),
        pytest.param(lambda _: "digit", "(did you mean 'digits'?)", id="a slip"),
        pytest.param(
            lambda _: "a\nb\x1b[31m", r"space 'a\\nb\\x1b[31m'", id="codes for a terminal"
        ),
        pytest.param(lambda _: "", "unknown search space ''", id="nothing"),
        pytest.param(lambda _: "nul\0.yaml", "there is no such file", id="a null byte"),
    ],
)
def test_what_is_no_file_of_a_space_is_refused(
    make: Callable[[Path], str], expected: str, tmp_path: Path
) -> None:
    message = refusal(make(tmp_path))
    assert expected in message
    assert len(message) < 1_000


def test_what_is_nested_is_read_to_a_limit_and_beyond_it_the_place_is_named() -> None:
    value = parse_yaml("[" * MAX_DEPTH + "]" * MAX_DEPTH, "space.yaml")
    for _ in range(MAX_DEPTH - 1):
        (value,) = value
    assert value == []
    deeper = "[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1)
    with pytest.raises(ConfigError, match=f"nested too deeply\\n.*column {MAX_DEPTH + 1}"):
        parse_yaml(deeper, "space.yaml")


@pytest.mark.parametrize(
    ("text", "arguments", "expected"),
    [
        (FILES["a million cells"][0], [], "more than 100,000 cells"),
        (FILES["a bomb of aliases"][0], [], "aliases expanded"),
        (FILES["a Python object"][0], [], "could not determine a constructor"),
        (FILES["nested too deeply"][0], [], "nested too deeply"),
        (FILES["a huge file"][0], [], "longer than 100,000 bytes"),
        (FILES["NaN"][0], ["--methods", "all"], "should be a finite number, got nan"),
        (GOOD, ["--set", "imbalance=true"], "imbalance=True; allowed are numbers"),
        (GOOD, ["--seeds", "0-"], "'0-' is not a seed"),
        (GOOD, ["--data-dir", "none", "--set", "data.name=folder"], "--data-dir none"),
    ],
    ids=["cells", "aliases", "object", "nesting", "huge", "NaN", "true", "seeds", "no folder"],
)
def test_the_command_exits_2_within_two_seconds_and_starts_nothing(
    text: str, arguments: list[str], expected: str, tmp_path: Path
) -> None:
    (tmp_path / "space.yaml").write_text(text)
    command = "import sys; from curvetune.cli import main\ntry: main()\nfinally: "
    command += "print('loaded:', *{'ray', 'torch', 'mlflow'} & set(sys.modules), file=sys.stderr)"
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-c", command, "grid", "space.yaml", *arguments],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=60,
        check=False,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert (done.returncode, done.stdout) == (2, "")
    assert expected in done.stderr
    assert "space.yaml" in done.stderr or arguments
    assert "Traceback" not in done.stderr
    assert done.stderr.endswith("loaded:\n")
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 2
    assert os.listdir(tmp_path) == ["space.yaml"]
