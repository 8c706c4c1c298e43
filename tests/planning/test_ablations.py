"""Every ablation of the paper is a space that says rightly how large it is, and shares probes."""

from pathlib import Path
from typing import Any

import pytest
import torch

from curvetune import data, methods
from curvetune.cell import run_cell
from curvetune.config import CellConfig
from curvetune.errors import ConfigError
from curvetune.planning.ablations import ablation_space, ablations, shared_probes
from curvetune.planning.plan import build_plan
from curvetune.planning.selection import parse_selection, selected_space

DIGEST = "d" * 64
SIZES = {  # name: cells, probes, as the head of each space tells
    "backbone": (24, 6),
    "embedding-dim": (48, 12),
    "meta-size": (8, 1),
    "noise-kind": (24, 8),
    "removed-losses": (48, 12),
    "skip-layers": (48, 12),
}


def cells_of(name: str, **options: Any) -> tuple[CellConfig, ...]:
    options = {"methods": "", "seeds": "", "profile": "release", "fixed": []} | options
    return selected_space(parse_selection(f"ablate-{name}", **options)).cells


def probes_of(name: str, **options: Any) -> set[str]:
    found = {cell.probe_id(DIGEST) for cell in cells_of(name, **options)}
    return {probe for probe in found if probe is not None}


def test_there_are_six_ablations() -> None:
    assert ablations() == tuple(SIZES)


@pytest.mark.parametrize("name", SIZES)
def test_an_ablation_has_the_cells_and_probes_that_its_space_tells(name: str) -> None:
    cells, probes = SIZES[name]
    assert (len(cells_of(name)), len(probes_of(name))) == (cells, probes)
    text = (Path("search_spaces") / f"{ablation_space(name)}.yaml").read_text().replace("\n# ", " ")
    assert f"= {cells} cells on {probes} probe" in text


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("profile", ["release", "smoke"])
def test_the_plan_of_an_ablation_counts_the_probes_it_shares(name: str, profile: str) -> None:
    options: dict[str, Any] = {"seeds": "0-1", "profile": profile}
    selection = parse_selection(f"ablate-{name}", "", "0-1", profile, [])
    plan = build_plan(
        selected_space(selection), DIGEST, is_done=lambda _: False, has_probe=lambda _: False
    )
    mine = probes_of(name, **options)
    expected = {other: len(mine & probes_of(other, **options)) for other in SIZES if other != name}
    assert shared_probes(plan, selection) == expected


def test_three_ablations_and_one_setting_of_a_fourth_share_all_their_probes() -> None:
    assert probes_of("skip-layers") == probes_of("embedding-dim") == probes_of("removed-losses")
    assert probes_of("meta-size") < probes_of("skip-layers")


def test_a_grid_that_is_no_ablation_is_compared_with_none() -> None:
    selection = parse_selection("digits", "", "", "smoke", [])
    plan = build_plan(
        selected_space(selection), DIGEST, is_done=lambda _: False, has_probe=lambda _: False
    )
    assert shared_probes(plan, selection) == {}


def test_an_unknown_ablation_is_refused_with_the_names_that_exist() -> None:
    with pytest.raises(ConfigError, match=r"'skip-layer' \(did you mean 'skip-layers'\?\)"):
        ablation_space("skip-layer")


def cell(**method: Any) -> CellConfig:
    return CellConfig.model_validate(
        {
            "data": {"train_limit": 64, "test_limit": 50},
            "model": {"name": "resnet8"},
            "probe": {"epochs": 3, "cyclic_start": 2, "half_period": 1},
            "allocate": {"epochs": 2, "milestones": [1], "warmup": 0, "batch_size": 32},
            "method": {"name": "curvenet", "removed_losses": 1, "meta_batch_size": 8, **method},
        }
    )


def test_fewer_meta_images_leave_the_training_set_and_the_probe_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[Any] = []
    build = methods.build

    def spy(config: Any, parts: Any) -> Any:
        built.append(parts)
        return build(config, parts)

    monkeypatch.setattr(methods, "build", spy)
    images = data.load("digits")
    for method in ({}, {"meta_images": 3}):
        run_cell(cell(**method), DIGEST, images, tmp_path, device=torch.device("cpu"))
    every, few = (parts.meta for parts in built)
    assert (len(every), len(few)) == (100, 30)
    assert torch.bincount(few._y).tolist() == [3] * 10
    assert torch.equal(built[0].y, built[1].y)
    assert len(list((tmp_path / "probes").iterdir())) == 1


def test_all_meta_images_are_the_same_cell_as_before_the_option_existed() -> None:
    assert "meta_images" not in cell().method.identity()
    assert cell(meta_images=3).cell_id(DIGEST) != cell().cell_id(DIGEST)


@pytest.mark.parametrize(
    "method", [{"meta_images": 11}, {"meta": "low_loss", "meta_images": 1}, {"meta_images": 0}]
)
def test_more_meta_images_than_there_are_clean_ones_is_an_error(method: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="meta_images"):
        cell(**method)
