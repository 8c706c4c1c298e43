from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from curvetune.config import CellConfig, CurveNetConfig, WeightNetConfig
from curvetune.errors import ConfigError
from curvetune.planning.space import Space, load_space

DIGEST = "d" * 64
Load = Callable[..., Space]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Return a function that writes YAML to trial.yaml and loads it."""

    def write_and_load(text: str, **options: Any) -> Space:
        path = tmp_path / "trial.yaml"
        path.write_text(text)
        return load_space(str(path), **options)

    return write_and_load


BASIC = """
base:
  data: {name: cifar10}
  bias: {noise: flip2}
  probe: {epochs: 100}
grid:
  imbalance: [1, 20]
  noise_rate: [0.0, 0.4]
  seed: [0, 1, 2]
  method:
    - {name: cross-entropy}
    - {name: curvenet, skip_layers: [0, 3], removed_losses: 7}
"""
ONE = "grid: {seed: [0], method: [{name: curvenet}]}"


def method(cell: CellConfig) -> CurveNetConfig:
    assert isinstance(cell.method, CurveNetConfig)
    return cell.method


def test_the_grid_is_the_product_of_its_axes_and_a_list_in_an_entry_is_an_axis_of_it(
    load: Load,
) -> None:
    space = load(BASIC)
    assert space.name == "trial"
    assert len(space.cells) == 2 * 2 * 3 * (1 + 2)
    curvenets = [cell for cell in space.cells if cell.method.name == "curvenet"]
    assert {method(cell).skip_layers for cell in curvenets} == {0, 3}
    assert {cell.bias.noise for cell in space.cells} == {"flip2"}
    assert {cell.data.meta_per_class for cell in space.cells} == {100}  # CIFAR-10's own default


def test_set_wins_over_the_profile_which_wins_over_the_space(load: Load) -> None:
    assert {cell.probe.epochs for cell in load(BASIC).cells} == {100}
    assert {cell.probe.epochs for cell in load(BASIC, profile="smoke").cells} == {3}
    fixed = load(BASIC, profile="smoke", fixed={"probe.epochs": "9"})
    assert {cell.probe.epochs for cell in fixed.cells} == {9}
    assert {cell.allocate.epochs for cell in fixed.cells} == {3}


def test_set_fixes_an_axis_or_makes_one(load: Load) -> None:
    fixed = load(BASIC, fixed={"imbalance": "20", "bias.noise_rate": "0.4"})
    assert {(cell.bias.imbalance, cell.bias.noise_rate) for cell in fixed.cells} == {(20, 0.4)}
    assert len(fixed.cells) == 3 * 3
    widened = load(ONE, fixed={"imbalance": "[1, 10, 50]"})
    assert [cell.bias.imbalance for cell in widened.cells] == [1, 10, 50]


@pytest.mark.parametrize(
    ("text", "milestones"),
    [
        ("[10, 15]", [(10, 15)]),
        ("[10]", [(10,)]),
        ("[]", [()]),
        ("[[10, 15]]", [(10, 15)]),
        ("[[10, 15], [20]]", [(10, 15), (20,)]),
    ],
)
def test_where_an_option_takes_nothing_but_lists_a_list_is_one_value_and_one_of_lists_an_axis(
    load: Load, text: str, milestones: list[tuple[int, ...]]
) -> None:
    for options in ({"allocate.milestones": text}, {"allocate": f"{{milestones: {text}}}"}):
        found = load(ONE, fixed=options).cells
        assert [cell.allocate.milestones for cell in found] == milestones
    in_grid = load(f"grid: {{seed: [0], milestones: {text}}}").cells
    assert [cell.allocate.milestones for cell in in_grid] == milestones


def test_where_an_option_takes_a_number_or_a_list_a_list_is_an_axis(load: Load) -> None:
    gammas = [cell.allocate.gamma for cell in load(ONE, fixed={"gamma": "[0.1, 0.2]"}).cells]
    assert gammas == [0.1, 0.2]
    gammas = [cell.allocate.gamma for cell in load(ONE, fixed={"gamma": "[[0.1, 0.2]]"}).cells]
    assert gammas == [(0.1, 0.2)]


def test_set_takes_what_yaml_takes(load: Load) -> None:
    text = "{base: {data: {name: hf, variant: a, crop_size: 16}}, grid: {seed: [0]}}"
    fixed = {"crop_size": "null", "probe.nesterov": "false", "probe.lr": "1e-2", "seed": "[0, 1]"}
    cells = load(text, fixed=fixed | {"data.variant": '"no, [1=2]"'}).cells
    assert [cell.seed for cell in cells] == [0, 1]
    cell = cells[0]
    assert (cell.data.crop_size, cell.probe.nesterov, cell.probe.lr) == (None, False, 0.01)
    assert cell.data.variant == "no, [1=2]"
    assert load(text, fixed={"data.variant": "a,b=c"}).cells[0].data.variant == "a,b=c"


def test_a_mapping_sets_its_options_and_leaves_the_others_of_the_section(load: Load) -> None:
    cells = load(BASIC, fixed={"data": "{train_limit: 99}", "bias": "{imbalance: [5, 6]}"}).cells
    assert {(cell.data.name, cell.data.train_limit) for cell in cells} == {("cifar10", 99)}
    assert {(cell.bias.imbalance, cell.bias.noise) for cell in cells} == {
        (5, "flip2"),
        (6, "flip2"),
    }
    curvenets = load(ONE, fixed={"method": "{embedding_dim: [16, 32]}"}).cells
    assert [method(cell).embedding_dim for cell in curvenets] == [16, 32]


@pytest.mark.parametrize("section", ["allocate", "data"])
def test_a_mapping_that_sets_nothing_is_refused(load: Load, section: str) -> None:
    with pytest.raises(ConfigError, match=f"{section} has options; set one of them"):
        load(BASIC, fixed={section: "{}"})


def test_set_of_a_method_option_goes_where_it_exists(load: Load) -> None:
    cells = load(BASIC, fixed={"embedding_dim": "32"}).cells
    assert {method(cell).embedding_dim for cell in cells if cell.method.needs_probe} == {32}
    with pytest.raises(ConfigError, match=r"none of the chosen methods \(cross-entropy\)"):
        load(BASIC, methods=["cross-entropy"], fixed={"method.embedding_dim": "32"})


def test_methods_replace_the_choice_but_keep_the_options_of_the_space(load: Load) -> None:
    cells = load(BASIC, methods=["curvenet", "mw-net-noise"]).cells
    assert {cell.method.name for cell in cells} == {"curvenet", "mw-net-noise"}
    assert {method(cell).removed_losses for cell in cells if cell.method.needs_probe} == {7}
    every = {cell.method.name for cell in load(BASIC, methods=["all"]).cells}
    assert {"cross-entropy", "curvenet", "mw-net-noise"} <= every


def test_seeds_replace_those_of_the_space(load: Load) -> None:
    assert {cell.seed for cell in load(BASIC, seeds=[7, 8]).cells} == {7, 8}


def test_the_same_cell_twice_is_one_cell(load: Load) -> None:
    assert len(load("grid: {seed: [0, 0, 1]}").cells) == 2


def test_smoke_is_short_and_small_and_what_counts_epochs_shrinks_with_it(load: Load) -> None:
    (cell,) = load(ONE, profile="smoke").cells
    assert (cell.probe.epochs, cell.allocate.epochs) == (3, 3)
    assert (cell.data.train_limit, cell.data.test_limit) == (2000, 2000)
    assert method(cell).removed_losses == 0  # 5 of 300 epochs are none of 3
    assert cell.allocate.milestones == (1, 2)  # 80 and 100 of 200
    assert cell.probe.cyclic_start == 1
    small = load(ONE, profile="smoke", fixed={"data.train_limit": "100"})
    assert small.cells[0].data.train_limit == 100


def test_smoke_keeps_limits_that_are_smaller_already(load: Load) -> None:
    (cell,) = load("{base: {data: {train_limit: 50}}, grid: {seed: [0]}}", profile="smoke").cells
    assert (cell.data.train_limit, cell.data.test_limit) == (50, 2000)


def test_fast_cuts_the_probe_short_and_has_half_the_training(load: Load) -> None:
    (cell,) = load(ONE, profile="fast").cells
    assert (cell.probe.epochs, cell.allocate.epochs) == (120, 100)
    assert (cell.probe.cyclic_start, cell.probe.cyclic_batch_size) == (90, 128)
    assert cell.probe.half_period == 15
    assert (cell.probe.cyclic_high, cell.probe.cyclic_low) == pytest.approx((0.08, 0.008))
    assert method(cell).removed_losses == 2  # 5 of 300 epochs are two of 120
    assert (cell.model.precision, method(cell).meta_every) == ("bfloat16", 2)
    assert method(cell).update == "lag-1"


def test_fast_cuts_probes_without_a_cyclic_phase_too(load: Load) -> None:
    space = "{base: {probe: {epochs: 20, cyclic_start: 40}}, grid: {seed: [0]}}"
    (cell,) = load(space, profile="fast").cells
    assert (cell.probe.epochs, cell.probe.cyclic_start) == (15, 15)
    (tiny,) = load("{base: {probe: {epochs: 2}}, grid: {seed: [0]}}", profile="fast").cells
    assert tiny.probe.epochs == 2


def test_fast_goes_straight_down_from_the_first_drop(load: Load) -> None:
    (cell,) = load(ONE, profile="fast").cells
    rates = [cell.allocate.lr_at(epoch) for epoch in (39, 40, 70, 99)]
    assert rates == pytest.approx([0.1, 0.1, 0.05, 0.1 / 60])
    space = "{base: {allocate: {schedule: cosine}}, grid: {seed: [0]}}"
    assert load(space, profile="fast").cells[0].allocate.schedule == "cosine"
    space = "{base: {allocate: {epochs: 60}}, grid: {seed: [0]}}"  # ends before the first drop
    assert load(space, profile="fast").cells[0].allocate.schedule == "step"


@pytest.mark.parametrize("name", ["mw-net-imb", "famus", "curvenet, skip_layers: 1"])
def test_fast_leaves_alone_what_a_method_cannot_have(load: Load, name: str) -> None:
    (cell,) = load(f"grid: {{method: [{{name: {name}}}]}}", profile="fast").cells
    found = cell.method
    assert isinstance(found, WeightNetConfig)
    late, every = found.update == "lag-1", found.meta_every
    assert (late, every) == ((True, 1) if name == "famus" else (False, 2))


def test_fast_keeps_updates_that_are_rarer_already(load: Load) -> None:
    (cell,) = load("grid: {method: [{name: curvenet, meta_every: 4}]}", profile="fast").cells
    assert method(cell).meta_every == 4


def test_paper_follows_the_text(load: Load) -> None:
    (cell,) = load(ONE, profile="paper").cells
    assert (method(cell).virtual_step, method(cell).floor) == ("sgd", 0.0)
    assert (cell.probe.epochs, cell.allocate.epochs) == (300, 200)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("base: {probe: {epoch: 3}}\ngrid: {seed: [0]}", r"trial\.yaml.*probe\.epoch.*got 3"),
        ("base: {probe: {epoch: 3}}\ngrid: {seed: [0]}", r"did you mean 'epochs'"),
        ("grid: {imbalance: [0.5]}", r"bias\.imbalance: .*greater than or equal to 1, got 0\.5"),
        ("grid: {noise_rate: [1]}", r"bias\.noise_rate: .*less than 1, got 1"),
        ("grid: {noise: [flipp]}", r"bias\.noise: got 'flipp'.*allowed.*did you mean 'flip'"),
        ("grid: {method: [{name: curvnet}]}", r"unknown method 'curvnet'.*did you mean 'curvenet'"),
        ("grid: {method: [{name: curvenet, gama: 2}]}", r"gama: unknown key, got 2"),
        ("grid: {imbalence: [1]}", r"grid: unknown key 'imbalence' \(did you mean 'imbalance'\?\)"),
        ("grid: {epochs: [1]}", r"'epochs' is ambiguous; write one of probe\.epochs, allocate"),
        ("grid: {seed: []}", r"seed has no value, so the grid is empty"),
        ("grid: {}", r"trial\.yaml.*grid"),
        ("gird: {seed: [0]}", r"gird: unknown key"),
        ("- 1", r"a mapping with keys is needed"),
        ("grid: [", r"not valid YAML"),
        (
            "base: {probe: {epochs: 5}}\ngrid: {method: [{name: curvenet}]}",
            r"removed_losses=5 leaves nothing of the 5 epochs of the probe; allowed is at most 3",
        ),
    ],
)
def test_a_mistake_is_named_with_its_place_its_value_and_what_is_allowed(
    load: Load, text: str, complaint: str
) -> None:
    with pytest.raises(ConfigError, match=rf"(?s){complaint}"):
        load(text)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"profile": "smok"}, r"--profile: unknown profile 'smok' \(did you mean 'smoke'\?\)"),
        ({"methods": ["focl"]}, r"--methods: unknown method 'focl'"),
        ({"fixed": {"imbalanc": "1"}}, r"--set: unknown key 'imbalanc'.*did you mean 'imbalance'"),
        ({"fixed": {"imbalance": "0"}}, r"--set: .*\n  bias\.imbalance: .*got 0"),
        ({"fixed": {"imbalance": "["}}, r"--set imbalance: '\[' is not a YAML value"),
        (
            {"fixed": {"model.weights": "@x"}},
            r"needs quotes of its own: --set 'model.weights=\"…\"'",
        ),
        ({"fixed": {"imbalance": "1,20"}}, r"a list has brackets: bias.imbalance=\[1,20\]"),
        ({"fixed": {"allocate": "3"}}, r"allocate has options; set one of them, allocate.NAME"),
        ({"fixed": {"method": "curvenet"}}, r"--methods chooses methods"),
        ({"fixed": {"allocate": "{lrr: 3}"}}, r"--set allocate: unknown key 'allocate.lrr'"),
        ({"fixed": {"imbalance": "1", "bias": "{imbalance: 2}"}}, r"'bias' is given twice, since"),
        ({"fixed": {"imbalance": "[]"}}, r"bias\.imbalance has no value"),
        ({"fixed": {"noise": "unifrom"}}, r"did you mean 'uniform'"),
        ({"seeds": [-1]}, r"seed: .*got -1"),
    ],
)
def test_a_mistake_in_an_option_is_named_as_well(
    load: Load, options: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(ConfigError, match=rf"(?s){complaint}"):
        load(BASIC, **options)


def test_an_unknown_space_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"'digit' \(did you mean 'digits'\?\); allowed are"):
        load_space("digit")
    with pytest.raises(ConfigError, match="there is no such file"):
        load_space(str(tmp_path / "none.yaml"))


def cell(**sections: Any) -> CellConfig:
    return CellConfig.model_validate(sections)


def curvenet(**options: Any) -> CellConfig:
    return cell(method={"name": "curvenet", **options})


def test_what_the_allocating_stage_reads_differently_shares_the_probe() -> None:
    plain = curvenet()
    others = [
        curvenet(skip_layers=3),
        curvenet(embedding_dim=32),
        curvenet(removed_losses=30),
        curvenet(meta="low_loss"),
    ]
    assert {other.probe_id(DIGEST) for other in others} == {plain.probe_id(DIGEST)}
    assert len({c.cell_id(DIGEST) for c in [plain, *others]}) == 5


@pytest.mark.parametrize(
    "sections",
    [
        {"seed": 1},
        {"bias": {"imbalance": 2}},
        {"bias": {"noise_rate": 0.1}},
        {"model": {"name": "resnet8"}},
        {"data": {"train_limit": 10}},
        {"probe": {"epochs": 299}},
    ],
)
def test_what_decides_the_curves_makes_another_probe(sections: dict[str, Any]) -> None:
    changed = cell(method={"name": "curvenet"}, **sections)
    assert changed.probe_id(DIGEST) != curvenet().probe_id(DIGEST)
    assert changed.cell_id(DIGEST) != curvenet().cell_id(DIGEST)


def test_other_data_make_other_addresses() -> None:
    assert curvenet().probe_id("e" * 64) != curvenet().probe_id(DIGEST)
    assert curvenet().cell_id("e" * 64) != curvenet().cell_id(DIGEST)


def test_the_probe_is_no_part_of_a_method_that_reads_none() -> None:
    assert cell(probe={"epochs": 20}).cell_id(DIGEST) == cell().cell_id(DIGEST)
    assert cell().probe_id(DIGEST) is None


def test_without_noise_its_kind_decides_nothing() -> None:
    def address(kind: str, rate: float) -> str:
        return cell(bias={"noise": kind, "noise_rate": rate}).cell_id(DIGEST)

    assert address("flip", 0.0) == address("uniform", 0.0)
    assert address("flip", 0.1) != address("uniform", 0.1)


def test_paths_and_devices_cannot_enter_an_identity() -> None:
    assert set(cell().split_identity(DIGEST)) == {"version", "data", "bias", "seed"}
    for key in ("data_dir", "storage", "device", "address", "workers"):
        with pytest.raises(ValueError, match=key):
            cell(**{key: "somewhere"})


def test_an_address_is_the_same_in_every_process() -> None:
    assert cell().cell_id(DIGEST) == CellConfig.model_validate_json(
        cell().model_dump_json()
    ).cell_id(DIGEST)
    assert len(cell().cell_id(DIGEST)) == 16


def test_set_changes_single_values_of_a_section_within_a_method(load: Load) -> None:
    entry = "{name: o2u-net, o2u_probe: {epochs: 40, cyclic_start: 20}}"
    (cell,) = load(f"grid: {{method: [{entry}]}}", fixed={"o2u_probe": "{lr: 0.02}"}).cells
    own = cell.method.model_dump()["o2u_probe"]
    assert (own["epochs"], own["cyclic_start"], own["lr"]) == (40, 20, 0.02)


def test_a_short_schedule_keeps_the_factors_of_milestones_that_fall_together(load: Load) -> None:
    text = "grid: {method: [{name: o2u-net, recipe: native}]}"
    (cell,) = load(text, profile="smoke").cells
    assert cell.allocate.milestones == (1, 2)
    assert cell.allocate.gamma == (0.5, 0.2)
    spread = """
base: {allocate: {epochs: 200, milestones: [80, 90], gamma: [0.5, 0.2]}}
grid: {method: [{name: cross-entropy}]}
"""
    (cell,) = load(spread, profile="smoke").cells
    assert cell.allocate.milestones == (1,)
    assert cell.allocate.gamma == pytest.approx((0.1,))
