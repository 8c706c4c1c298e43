"""What methods need beside the training set: a probe, a clean set, a noise rate, a recipe."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from curvetune import data
from curvetune.cell import run_cell
from curvetune.config import (
    METHOD_SECTIONS,
    AllocateConfig,
    BiasConfig,
    CellConfig,
    DataConfig,
    ModelConfig,
    ProbeConfig,
)
from curvetune.data.splits import make_split
from curvetune.errors import ConfigError
from curvetune.planning.space import load_space
from curvetune.probe.noise_rate import estimate_noise_rate
from curvetune.store import CurveStore

DIGEST = data.digest("digits")
WITH_CLEAN_SET = [name for name, s in METHOD_SECTIONS.items() if s().meta_set == "clean"]
WITH_NOISE_RATE = [name for name, s in METHOD_SECTIONS.items() if s.needs_noise_rate]
PRETRAINED = [
    name
    for name, s in METHOD_SECTIONS.items()
    if s().probe_recipe(ProbeConfig(), AllocateConfig()) == AllocateConfig()
]


def cell(name: str, **changes: Any) -> CellConfig:
    """Return a cell of digits that trains for seconds."""
    return CellConfig(
        data=DataConfig(name="digits", per_class_limit=30, test_limit=100),
        bias=BiasConfig(noise_rate=0.4, noise="symmetric"),
        model=ModelConfig(name="resnet8"),
        probe=ProbeConfig(epochs=4, cyclic_start=2, half_period=1, batch_size=50),
        allocate=AllocateConfig(epochs=3, milestones=(2,), warmup=0, batch_size=50),
        method=METHOD_SECTIONS[name](),
    ).model_copy(update=changes)


@pytest.mark.parametrize("name", WITH_CLEAN_SET)
def test_a_method_without_its_clean_set_is_refused_with_the_option_that_gives_one(
    name: str,
) -> None:
    with pytest.raises(ConfigError, match=f"(?s){name}.*clean set.*--set meta_per_class=10"):
        load_space("digits", methods=[name], fixed={"meta_per_class": "0"})


def test_without_a_clean_set_the_others_run_on_all_images() -> None:
    space = load_space("digits", methods=["cross-entropy"], fixed={"meta_per_class": "0"})
    split = make_split(
        np.arange(200) % 10, np.arange(50) % 10, space.cells[0].data, BiasConfig(), 0, 10
    )
    assert len(split.meta) == 0
    assert len(split.train) == 200


@pytest.mark.parametrize("name", WITH_NOISE_RATE)
def test_real_noise_needs_a_rate_and_the_error_names_both_ways_to_give_it(name: str) -> None:
    fixed = {"noise": "real", "noise_rate": "0"}
    with pytest.raises(ConfigError, match=r"(?s)noise_rate_estimate=0.2.*noise_rate_estimate=auto"):
        load_space("digits", methods=[name], fixed=fixed)
    for estimate in ("auto", "0.2"):
        space = load_space(
            "digits", methods=[name], fixed=fixed | {"noise_rate_estimate": estimate}
        )
        assert space.cells


def test_real_noise_changes_no_label_and_takes_no_rate() -> None:
    y = np.arange(200) % 10
    split = make_split(y, y, DataConfig(meta_per_class=1), BiasConfig(noise="real"), 0, 10)
    assert not split.wrong.any()
    with pytest.raises(ValidationError, match=r"noise_rate=0\.2"):
        BiasConfig(noise="real", noise_rate=0.2)


@pytest.mark.parametrize("share", [0.1, 0.3, 0.4])
def test_the_estimated_rate_is_that_of_two_well_separated_groups(share: float) -> None:
    generator = np.random.default_rng(0)
    wrong = generator.random(2000) < share
    y = generator.integers(0, 4, 2000)
    level = 1.0 + y + 3 * wrong  # rare classes have higher losses, and wrong labels higher still
    curves = (level[:, None] + generator.normal(0, 0.5, (2000, 6))).astype(np.float32)
    curves[:50] = np.nan  # never seen
    assert estimate_noise_rate(curves, y) == pytest.approx(wrong[50:].mean(), abs=0.03)


def test_too_few_samples_give_an_estimate_of_zero() -> None:
    assert estimate_noise_rate(np.ones((5, 3), np.float32), np.zeros(5, np.int64)) == 0.0


@pytest.mark.parametrize("name", sorted(METHOD_SECTIONS))
def test_the_native_recipe_replaces_the_final_training_and_its_name_does_not_count(
    name: str, tmp_path: Path
) -> None:
    space = tmp_path / "one.yaml"
    space.write_text(
        f"base: {{allocate: {{epochs: 7}}}}\n"
        f"grid: {{method: [{{name: {name}}}, {{name: {name}, recipe: native}}]}}\n"
    )
    native = METHOD_SECTIONS[name].native
    if native is None:
        with pytest.raises(ConfigError, match="no published recipe"):
            load_space(str(space))
        return
    default, published = load_space(str(space)).cells
    assert default.allocate.epochs == 7
    assert published.allocate == native
    spelled_out = published.model_copy(
        update={"method": published.method.model_copy(update={"recipe": "default"})}
    )
    assert published.cell_id(DIGEST) == spelled_out.cell_id(DIGEST)
    assert published.cell_id(DIGEST) != default.cell_id(DIGEST)


def test_pretraining_is_one_probe_that_all_methods_share_which_start_from_it(
    tmp_path: Path,
) -> None:
    digits = data.load("digits")
    made = []
    assert len(PRETRAINED) >= 3
    for name in PRETRAINED:
        events: list[dict[str, Any]] = []
        done = run_cell(
            cell(name),
            DIGEST,
            digits,
            tmp_path,
            device=torch.device("cpu"),
            on_event=events.append,
        )
        made.append([event["stage"] for event in events].count("probe"))
        assert done["probe_id"] == cell(name).probe_id(DIGEST)
    assert made == [3] + [0] * (len(PRETRAINED) - 1)
    assert len(list((tmp_path / "probes").iterdir())) == 1


def test_a_probe_on_half_of_the_samples_leaves_the_others_unseen(tmp_path: Path) -> None:
    har = cell("har")
    run_cell(har, DIGEST, data.load("digits"), tmp_path, device=torch.device("cpu"))
    curves = CurveStore(tmp_path).read(har.probe_id(DIGEST) or "")
    unseen = np.isnan(curves)
    assert (unseen.all(axis=1) == unseen.any(axis=1)).all()
    assert unseen.all(axis=1).sum() == 150  # of 300
    assert har.probe_id(DIGEST) != cell("glc").probe_id(DIGEST)


def test_a_method_that_asks_hears_the_given_the_set_or_the_estimated_rate(tmp_path: Path) -> None:
    digits = data.load("digits")
    used = {}
    for estimate in ("given", 0.25, "auto"):
        one = cell("co-teaching")
        method = one.method.model_copy(update={"noise_rate_estimate": estimate})
        one = one.model_copy(update={"method": method})
        done = run_cell(one, DIGEST, digits, tmp_path, device=torch.device("cpu"))
        used[estimate] = done["noise_rate_used"]
    assert used["given"] == 0.4
    assert used[0.25] == 0.25
    assert 0 < used["auto"] < 1
    plain = run_cell(cell("cross-entropy"), DIGEST, digits, tmp_path, device=torch.device("cpu"))
    assert plain["noise_rate_used"] is None


def test_options_that_came_later_do_not_move_the_address_of_what_was_there_before() -> None:
    identity = cell("cross-entropy").cell_identity(DIGEST)
    assert "schedule" not in identity["allocate"]
    assert "recipe" not in identity["method"]
    cosine = cell("cross-entropy").allocate.model_copy(update={"schedule": "cosine"})
    assert cosine.identity()["schedule"] == "cosine"
    json.dumps(identity)  # plain values only
