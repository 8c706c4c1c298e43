"""A plugin is named, versioned and known by its source; what is wrong with it is told at once."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from curvetune.config import METHOD_SECTIONS, CellConfig, read_config
from curvetune.config.load import stored_config, validate
from curvetune.config.plugins import PLUGINS, check_loaded
from curvetune.errors import ConfigError
from curvetune.planning.space import load_space
from curvetune.plugins import load
from curvetune.plugins.load import load_plugins

ROOT = Path(__file__).parents[2]

METHOD = '''
"""A method."""
from typing import Literal
from curvetune.methods.cross_entropy import cross_entropy
from curvetune.methods.shared.objective import LossMethod
from curvetune.plugins import MethodConfig, method

__version__ = "1"

class Section(MethodConfig):
    """Cross entropy, times a number."""
    source = "a test"
    name: Literal["mine"] = "mine"
    factor: float = 1.0

@method(Section)
def build(config, parts):
    def loss(logits, y):
        return config.factor * cross_entropy(logits, y)
    return LossMethod(parts.new_model(0), parts.recipe, loss)
'''


def written(folder: Path, text: str = METHOD, name: str = "mine.py") -> str:
    path = folder / name
    path.write_text(text)
    return str(path)


def cell(**method: object) -> CellConfig:
    return CellConfig.model_validate({"method": {"name": "mine", **method}})


def test_a_loaded_method_is_one_like_any_other(tmp_path: Path) -> None:
    before = CellConfig().cell_id("digest")
    (plugin,) = load_plugins([written(tmp_path)])
    assert (plugin.ref.name, plugin.ref.version) == ("mine", "1")
    assert list(METHOD_SECTIONS)[-1] == "mine"
    assert cell(factor=2).method.factor == 2
    assert CellConfig.model_validate_json(cell().model_dump_json()) == cell()
    assert CellConfig().cell_id("digest") == before
    with pytest.raises(ConfigError, match=r"method.mine.facto: unknown key.*did you mean 'factor'"):
        validate({"method": {"name": "mine", "facto": 1}}, CellConfig, "test")


def test_name_version_and_source_are_part_of_the_address_of_its_cells_alone(
    tmp_path: Path,
) -> None:
    others = CellConfig().cell_id("d"), cell_of_curvenet().cell_id("d")
    ids = set()
    for text in (METHOD, METHOD.replace('"1"', '"2"'), METHOD + "\n# edited\n"):
        load_plugins([written(tmp_path, text)])
        ids.add(cell().cell_id("d"))
        assert (CellConfig().cell_id("d"), cell_of_curvenet().cell_id("d")) == others
    load_plugins([written(tmp_path, METHOD, "other.py").replace("other", "mine")])
    load._forget("mine")
    load_plugins([written(tmp_path, METHOD, "other.py")])
    ids.add(cell().cell_id("d"))
    assert len(ids) == 4


def test_the_same_file_elsewhere_has_the_same_address(tmp_path: Path) -> None:
    load_plugins([written(tmp_path)])
    first = cell().cell_id("d")
    (tmp_path / "elsewhere").mkdir()
    load._forget("mine")
    load_plugins([written(tmp_path / "elsewhere")])
    assert cell().cell_id("d") == first


def cell_of_curvenet() -> CellConfig:
    return CellConfig.model_validate({"method": {"name": "curvenet"}})


WRONG = {
    "a taken name": (
        METHOD.replace('"mine"', '"focal"'),
        "plugin mine: method 'focal' is one of curvetune's own; give yours another name",
    ),
    "no version": (METHOD.replace("__version__", "version"), 'declare one.*__version__ = "1"'),
    "not even text": ("\0", r"mine.py: is not Python \(source code string cannot contain null"),
    "a version that is no text": (METHOD.replace('"1"', "1"), "has no version"),
    "no Python": ("def f(:\n", r"mine.py, line 1: is not Python \(invalid syntax\); mend"),
    "an import that is not there": (
        METHOD + "\nimport no_such_module\n",
        r"mine.py, line 22: ModuleNotFoundError: No module named 'no_such_module'",
    ),
    "an error of its own": (METHOD + "\n1 / 0\n", r"line 22: ZeroDivisionError"),
    "an exit": (METHOD + "\nraise SystemExit(3)\n", r"line 22: SystemExit"),
    "a section whose defaults do not validate": (
        METHOD.replace("factor: float = 1.0", "factor: float = 'x'"),
        "its defaults do not validate; .*\n  factor: .*valid number.*, got 'x'",
    ),
    "an option with a name that sections have": (
        "import warnings\nwarnings.simplefilter('ignore')\n"
        + METHOD.replace("factor: float = 1.0", "networks: int = 3"),
        "option 'networks' has the name of something that every section has",
    ),
    "an option without a default": (
        METHOD.replace("factor: float = 1.0", "factor: float"),
        "its defaults do not validate; .*\n  factor: Field required",
    ),
    "a section without a source": (METHOD.replace("source =", "sauce: str ="), "has no source"),
    "a section without a name": (
        METHOD.replace('name: Literal["mine"] = "mine"', "pass"),
        "has no name",
    ),
    "a source without all calls": (
        "from curvetune.plugins import source\n__version__ = '1'\n"
        "@source('s')\nclass S:\n    def load(self, folder): return None\n",
        "'S' has no train_labels, sizes, digest; allowed is a class with load, .* or one function",
    ),
    "no section": (METHOD.replace("(MethodConfig)", ""), "derived from MethodConfig"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_is_wrong_with_a_plugin_is_told_and_leaves_nothing_behind(
    kind: str, tmp_path: Path
) -> None:
    text, said = WRONG[kind]
    before = list(METHOD_SECTIONS)
    with pytest.raises(ConfigError, match=said):
        load_plugins([written(tmp_path, text)])
    assert list(METHOD_SECTIONS) == before
    assert not PLUGINS.methods


def test_two_plugins_cannot_have_one_name(tmp_path: Path) -> None:
    load_plugins([written(tmp_path)])
    with pytest.raises(ConfigError, match="method 'mine' is that of plugin mine 1"):
        load_plugins([written(tmp_path, METHOD, "other.py")])


@pytest.mark.parametrize("name", ["none.py", "no_such_module", "no-module", "9x.py", "."])
def test_a_plugin_that_is_not_there_is_told(name: str, tmp_path: Path) -> None:
    (tmp_path / "9x.py").write_text(METHOD)
    with pytest.raises(ConfigError, match="--plugin"):
        load_plugins([name], tmp_path)


def test_a_stored_cell_is_read_without_its_plugin_and_not_run(tmp_path: Path) -> None:
    (plugin,) = load_plugins([written(tmp_path)])
    stored, cell_id = cell(factor=2).model_dump(mode="json"), cell(factor=2).cell_id("d")
    load._forget("mine")
    read = read_config(stored)
    assert read.cell_id("d") == cell_id
    assert read.model_dump(mode="json") == stored
    assert stored_config(stored, "test") == read
    ((kind, name, ref),) = read.plugins
    assert ref == plugin.ref
    with pytest.raises(ConfigError, match=r"which is not loaded here.*--plugin FILE.py"):
        check_loaded(ref, kind, name)


def test_a_stored_cell_of_an_older_source_keeps_its_address_and_is_not_run(tmp_path: Path) -> None:
    load_plugins([written(tmp_path)])
    stored, cell_id = cell().model_dump(mode="json"), cell().cell_id("d")
    load_plugins([written(tmp_path, METHOD.replace("factor", "power"))])
    read = read_config(stored)
    assert read.cell_id("d") == cell_id != cell().cell_id("d")
    ((kind, name, ref),) = read.plugins
    with pytest.raises(ConfigError, match="was edited since"):
        check_loaded(ref, kind, name)


ASK = """
import json, sys
from curvetune.plugins.load import load_installed, load_plugins, loaded, broken
from curvetune.config.plugins import PLUGINS
load_installed()
load_plugins(sys.argv[1:])
from curvetune.config import CellConfig
cell = CellConfig.model_validate({"method": {"name": "mine"}})
print(json.dumps([cell.cell_id("d"), [str(p.ref) for p in loaded()], broken()]))
"""


def asked(path: Path, *names: str) -> list[object]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(path), str(ROOT)])}
    done = subprocess.run(
        [sys.executable, "-c", ASK, *names],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: list[object] = json.loads(done.stdout)
    return found


def install(folder: Path, module: str, name: str = "mine") -> None:
    """Do what pip does for a package with an entry point."""
    info = folder / f"{name}_package-7.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}-package\nVersion: 7\n")
    (info / "entry_points.txt").write_text(f"[curvetune.methods]\n{name} = {module}\n")


def test_an_installed_package_needs_no_option_and_has_its_own_version(tmp_path: Path) -> None:
    written(tmp_path, METHOD.replace('__version__ = "1"', ""), "mine_module.py")
    install(tmp_path, "mine_module")
    _, refs, broken = asked(tmp_path)
    assert str(refs).startswith("['plugin mine_module 7 (source ")
    assert broken == {}


def test_an_installed_package_that_is_broken_costs_no_other(tmp_path: Path) -> None:
    written(tmp_path, METHOD, "mine_module.py")
    install(tmp_path, "mine_module")
    written(tmp_path, "__version__ = '1'\nimport no_such_module", "broken_module.py")
    install(tmp_path, "broken_module", "broken")
    _, refs, broken = asked(tmp_path)
    assert str(refs).startswith("['plugin mine_module 1 ")
    assert isinstance(broken, dict)
    assert "line 2: ModuleNotFoundError" in broken["broken_module"]


def test_a_module_of_a_package_counts_all_of_its_source(tmp_path: Path) -> None:
    package = tmp_path / "mine_package"
    (package / "parts").mkdir(parents=True)
    (package / "__init__.py").write_text('__version__ = "3"\n')
    (package / "parts" / "__init__.py").write_text("FACTOR = 1\n")
    text = METHOD.replace('__version__ = "1"', "from mine_package.parts import FACTOR")
    written(package, text, "methods.py")
    first = asked(tmp_path, "mine_package.methods")
    assert str(first[1]).startswith("['plugin mine_package.methods 3 ")
    (package / "parts" / "__init__.py").write_text("FACTOR = 2\n")
    assert asked(tmp_path, "mine_package.methods")[0] != first[0]


def test_what_another_process_sent_is_imported_where_it_is_not_installed(tmp_path: Path) -> None:
    package = tmp_path / "sent_package"
    package.mkdir()
    (package / "__init__.py").write_text('__version__ = "3"\n')
    (package / "helper.py").write_text("FACTOR = 1\n")
    text = METHOD.replace('__version__ = "1"', "from sent_package.helper import FACTOR")
    written(package, text, "methods.py")
    sys.path.insert(0, str(tmp_path))
    try:
        (plugin,) = load_plugins(["sent_package.methods"])
    finally:
        sys.path.remove(str(tmp_path))
        load._forget("sent_package.methods")
        for name in [name for name in sys.modules if name.startswith("sent_package")]:
            del sys.modules[name]
    with pytest.raises(ConfigError, match="there is no such module"):
        load_plugins(["sent_package.methods"])
    load.activate([plugin])
    assert "mine" in PLUGINS.methods
    assert sys.modules["sent_package.helper"].FACTOR == 1


def test_two_files_of_one_name_are_not_taken_for_each_other(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    first = written(tmp_path)
    other = written(tmp_path / "elsewhere", METHOD + "# another one\n")
    with pytest.raises(ConfigError, match=r"elsewhere/mine.py: another plugin is named mine"):
        load_plugins([first, other])
    (tmp_path / "elsewhere" / "space.yaml").write_text("plugins: [mine.py]\ngrid: {seed: [0]}\n")
    with pytest.raises(ConfigError, match="another plugin is named mine"):
        load_space(tmp_path / "elsewhere" / "space.yaml", plugins=[first])
    assert [p.ref.name for p in load_plugins([first, first])] == ["mine", "mine"]
    load_plugins([other])  # a later command may have another, as after an edit


def test_what_a_plugin_prints_at_import_is_not_on_stdout(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    load_plugins([written(tmp_path, METHOD + "\nprint('hello')\n")])
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", "hello\n")


def test_a_wrong_transform_is_told_which_there_are(tmp_path: Path) -> None:
    text = "from curvetune.plugins import transform\n__version__ = '1'\n"
    load_plugins([written(tmp_path, text + "@transform('dim')\ndef dim(x, numbers): return x\n")])
    with pytest.raises(ConfigError, match=r"got 'din'; allowed are 'dim' \(did you mean 'dim'"):
        validate({"data": {"transform": "din"}}, CellConfig, "test")


def test_an_edit_of_the_same_length_in_the_same_second_runs_the_new_source(tmp_path: Path) -> None:
    """Python's cache of bytecode would not see it: it looks at the second and the length."""
    package = tmp_path / "quick_package"
    package.mkdir()
    (package / "__init__.py").write_text('__version__ = "3"\n')
    text = METHOD.replace('__version__ = "1"', "from quick_package.helper import FACTOR")
    (package / "methods.py").write_text(text)
    (package / "helper.py").write_text("FACTOR = 1\n")
    sys.path.insert(0, str(tmp_path))
    try:
        for factor in (1, 2):
            (package / "helper.py").write_text(f"FACTOR = {factor}\n")
            os.utime(package / "helper.py", (1_700_000_000, 1_700_000_000))
            load_plugins(["quick_package.methods"])
            assert factor == sys.modules["quick_package.helper"].FACTOR
    finally:
        sys.path.remove(str(tmp_path))


def test_what_a_function_imports_when_it_is_called_comes_from_the_source_too(
    tmp_path: Path,
) -> None:
    package = tmp_path / "lazy_package"
    (package / "deep").mkdir(parents=True)  # without an __init__.py
    (package / "__init__.py").write_text('__version__ = "3"\n')
    (package / "deep" / "helper.py").write_text("FACTOR = 3\n")
    late = "def late():\n    from lazy_package.deep import helper\n    return helper.FACTOR\n"
    (package / "methods.py").write_text(METHOD.replace('__version__ = "1"', late))
    sys.path.insert(0, str(tmp_path))
    try:
        (plugin,) = load_plugins(["lazy_package.methods"])
    finally:
        sys.path.remove(str(tmp_path))
        load._forget("lazy_package.methods")
    shutil.rmtree(package)  # as on another machine
    load.activate([plugin])
    assert sys.modules["lazy_package.methods"].late() == 3


def test_a_plugin_that_fails_leaves_no_module_behind(tmp_path: Path) -> None:
    before = list(sys.meta_path)
    with pytest.raises(ConfigError):
        load_plugins([written(tmp_path, METHOD + "\n1 / 0\n")])
    assert "curvetune_plugin_mine" not in sys.modules
    assert sys.meta_path == before


def test_a_range_of_a_plugin_that_excludes_the_default_is_refused(tmp_path: Path) -> None:
    given = METHOD.replace("MethodConfig, method", "MethodConfig, Uniform, method").replace(
        "    factor: float",
        '    tunable = {"factor": Uniform(LOW, 3.0, "a test")}\n    factor: float',
    )
    with pytest.raises(ConfigError, match=r"2 to 3, which excludes the default 1\.0; widen"):
        load_plugins([written(tmp_path, given.replace("LOW", "2.0"))])
    load_plugins([written(tmp_path, given.replace("LOW", "0.5"), "other.py")])
    assert METHOD_SECTIONS["mine"].tunable["factor"].has(1.0)
