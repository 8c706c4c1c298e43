"""The manual of options is whole and true: keys, types, limits, defaults and meanings."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from curvetune.cli import app
from curvetune.config import METHOD_SECTIONS, CellConfig
from curvetune.config.manual import FOUND, SECTIONS, Option, chapter, chapters
from curvetune.planning.space import load_space

PAGE = Path(__file__).parents[2] / "docs" / "all-options.md"
OPTIONS = [(one.name, option) for one in chapters() for option in one.options]
every_option = pytest.mark.parametrize(
    ("name", "option"), OPTIONS, ids=[f"{name}-{option.key}" for name, option in OPTIONS]
)


def said(*words: str, code: int = 0) -> str:
    done = CliRunner().invoke(app, ["options", *words])
    assert done.exit_code == code, done.output
    return done.stdout


def leaves(values: dict[str, Any], place: str = "") -> set[str]:
    """Return the dotted keys of all values in nested mappings."""
    found = set()
    for key, value in values.items():
        found |= leaves(value, f"{place}{key}.") if isinstance(value, dict) else {f"{place}{key}"}
    return found


def test_the_page_is_what_the_command_prints() -> None:
    assert PAGE.read_text(encoding="utf-8") == said("--markdown"), (
        "run: curvetune options --markdown > docs/all-options.md"
    )


@pytest.mark.parametrize("name", METHOD_SECTIONS)
def test_every_key_of_a_cell_is_in_the_manual(name: str) -> None:
    cell = CellConfig.model_validate({"method": {"name": name}})
    internal = {f"{section}.{key}" for section in ("data", "model", "method") for key in FOUND}
    # a value that is not written where it is the default is an option all the same
    kept = {
        f"{section}.{option}"
        for section in ("data", "bias", "model")
        for option in type(getattr(cell, section)).model_fields
    }
    known = leaves(cell.model_dump(mode="json")) | kept
    listed = {o.key for one in (*SECTIONS, name) for o in chapter(one).options}
    assert listed == known - internal - {"method.name"}


@every_option
def test_an_option_says_what_it_takes_and_means(name: str, option: Option) -> None:
    assert option.type
    assert len(option.meaning) > 5
    assert "Annotated" not in option.type + option.limits


@pytest.mark.parametrize("profile", ["release", "paper", "fast", "smoke"])
@pytest.mark.parametrize("name", METHOD_SECTIONS)
def test_the_default_of_each_profile_is_what_a_cell_has(
    name: str, profile: str, tmp_path: Path
) -> None:
    space = tmp_path / "one.yaml"
    space.write_text(yaml.safe_dump({"grid": {"seed": [0], "method": [{"name": name}]}}))
    (cell,) = load_space(str(space), profile=profile).cells
    for option in (o for one in (*SECTIONS, name) for o in chapter(one).options):
        found: Any = cell
        for part in option.key.split("."):
            found = getattr(found, part)
        found = list(found) if isinstance(found, tuple) else found
        assert option.profiles.get(profile, option.default) == found, option.key


def test_limits_are_those_that_the_config_checks() -> None:
    limits = {o.key: (o.type, o.limits) for _, o in OPTIONS}
    assert limits["bias.noise_rate"] == ("number", "at least 0, below 1")
    assert limits["data.crop_size"] == ("whole number or null", "at least 8, at most 512")
    assert limits["allocate.gamma"] == ("number or list of numbers", "above 0, at most 1")
    assert limits["probe.nesterov"][0] == "true or false"
    assert limits["allocate.schedule"][0] == "step, cosine, linear"


def test_every_method_says_where_it_comes_from() -> None:
    assert all(one.source for one in chapters() if one.name in METHOD_SECTIONS)
    assert "CurveNet-V1" in chapter("probe").source


def test_an_option_of_several_methods_stands_on_the_page_once() -> None:
    rows = [row for row in PAGE.read_text(encoding="utf-8").splitlines() if row.startswith("| `")]
    assert sum(row.startswith("| `method.recipe`") for row in rows) == 1
    assert len(rows) == len(set(rows))


def test_the_command_tells_one_section_method_or_key_and_json_has_it_all() -> None:
    assert "allocate.milestones=[80,100]  list of whole numbers (fast [40]" in said("allocate")
    assert "method.embedding_dim=64  whole number, at least 1" in said("curvenet")
    assert said("virtual_step").count("method.virtual_step=") == 3  # unlike ones, each once
    found = json.loads(said("--json"))
    assert [one["name"] for one in found["chapters"]] == [*SECTIONS, *METHOD_SECTIONS]
    assert json.loads(said("seed", "--json"))["chapters"][0]["options"][0]["default"] == 0


@pytest.mark.parametrize(
    ("word", "hint"), [("curvnet", "curvenet"), ("alocate", "allocate"), ("mileston", "milestones")]
)
def test_an_unknown_name_gets_the_nearest_one_and_exit_code_2(word: str, hint: str) -> None:
    with pytest.raises(Exception, match=f"did you mean '{hint}'") as caught:
        CliRunner().invoke(app, ["options", word], catch_exceptions=False)
    assert getattr(caught.value, "exit_code", None) == 2


def test_options_of_a_plugin_are_in_the_manual(tmp_path: Path) -> None:
    plugin = tmp_path / "soft.py"
    plugin.write_text(
        '''
from typing import Annotated, Literal

from pydantic import Field

from curvetune.plugins import MethodConfig, method

__version__ = "1"


class SoftConfig(MethodConfig):
    """Soft labels."""

    source = "Szegedy et al., CVPR 2016"
    name: Literal["soft-manual"] = "soft-manual"
    share: Annotated[float, Field(ge=0, lt=1, description="Of all classes alike.")] = 0.2


@method(SoftConfig)
def build(config, parts):
    raise NotImplementedError
'''
    )
    text = said("soft-manual", "--plugin", str(plugin))
    assert "method.share=0.2  number, at least 0, below 1" in text
    assert "Of all classes alike." in text
    assert "Szegedy et al., CVPR 2016 (plugin soft 1" in text


def test_every_listed_key_is_one_that_set_takes(tmp_path: Path) -> None:
    space = tmp_path / "one.yaml"
    space.write_text(yaml.safe_dump({"grid": {"seed": [0], "method": [{"name": "o2u-net"}]}}))
    for option in (o for one in (*SECTIONS, "o2u-net") for o in chapter(one).options):
        if option.default is not None:
            value = yaml.safe_dump(option.default, default_flow_style=True).splitlines()[0]
            (cell,) = load_space(str(space), fixed={option.key: value}).cells
            assert cell.method.name == "o2u-net"
    (cell,) = load_space(str(space), fixed={"method.o2u_probe.cycle": "7"}).cells
    assert cell.model_dump()["method"]["o2u_probe"]["cycle"] == 7
