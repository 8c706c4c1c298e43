"""torchvision's classifiers train as ours do; weights of a file are known by their content."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

import curvetune
from curvetune import models
from curvetune.cell import run_cell
from curvetune.config import CellConfig
from curvetune.config.load import validate
from curvetune.config.networks import TORCHVISION, TORCHVISION_NAMES
from curvetune.config.profiles import apply_profile
from curvetune.data import digest, load
from curvetune.errors import ConfigError, StoppedError
from curvetune.models.derived import derive_stages
from curvetune.training.weights import load_weights


def network(name: str, channels: int = 3, size: int = 32, seed: int = 0) -> nn.Module:
    generator = torch.Generator().manual_seed(seed)
    return models.build(f"{TORCHVISION}{name}", 10, channels, image_size=size, generator=generator)


def test_the_names_are_those_of_torchvisions_classifiers() -> None:
    names = torchvision.models.list_models(module=torchvision.models)
    assert sorted(TORCHVISION_NAMES) == sorted(f"{TORCHVISION}{name}" for name in names)


@pytest.mark.parametrize(
    ("name", "num_stages"),
    [("resnet18", 6), ("regnet_x_400mf", 6), ("mobilenet_v3_small", 14), ("shufflenet_v2_x0_5", 7)],
)
def test_stages_are_derived_where_the_children_are_the_network(name: str, num_stages: int) -> None:
    model = network(name).eval()
    x = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    assert isinstance(model.stages, nn.Sequential)
    assert len(model.stages) == num_stages
    with torch.no_grad():
        assert torch.equal(model.stages(x), model(x))
        assert torch.equal(models.last_layer(model)(models.features(model, x)), model(x))
    assert all("stages" not in key for key in model.state_dict())


def test_a_network_that_is_no_chain_has_no_stages() -> None:
    assert not hasattr(network("densenet121"), "stages")

    class Twisted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3)
            self.last = nn.Linear(4, 10)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = self.last((self.one(x) + self.two(x)).mean((2, 3)))
            return logits

    assert derive_stages(Twisted(), 3, 32) is None


@pytest.mark.parametrize(
    ("name", "channels", "size"),
    [("resnet18", 1, 8), ("vit_b_32", 1, 32), ("googlenet", 3, 32), ("efficientnet_b0", 2, 32)],
)
def test_any_number_of_channels_and_its_own_initial_values(
    name: str, channels: int, size: int
) -> None:
    before = torch.get_rng_state()
    one, same, other = (network(name, channels, size, seed).state_dict() for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(one[key], same[key]) for key in one)
    assert not all(torch.equal(one[key], other[key]) for key in one)
    logits = network(name, channels, size).eval()(torch.zeros(2, channels, size, size))
    assert logits.shape == (2, 10)


def test_a_size_that_a_transformer_cannot_divide_is_told() -> None:
    with pytest.raises(ValueError, match=r"patches of 16; images of 40 do not fit"):
        network("vit_b_16", size=40)


@pytest.mark.parametrize("name", ["torchvision/resnet19", "torchvision/", "torchvision"])
def test_a_wrong_name_is_told_with_the_nearest(name: str) -> None:
    with pytest.raises(ConfigError, match=r"model.name.*allowed are"):
        validate({"model": {"name": name}}, CellConfig, "test")


SETTINGS: dict[str, Any] = {
    "model.name": "torchvision/mobilenet_v3_small",  # it has dropout
    "data.per_class_limit": 12,
    "data.test_limit": 50,
    "data.meta_per_class": 2,
    "allocate.batch_size": 32,
}


def cell_of(**more: Any) -> CellConfig:
    sections: dict[str, dict[str, Any]] = {"method": {"name": "cross-entropy"}}
    for key, value in {**SETTINGS, **more}.items():
        section, _, option = key.partition(".")
        sections.setdefault(section, {})[option] = value
    return apply_profile(CellConfig.model_validate(sections), "smoke")


def test_a_network_with_dropout_resumes_bit_for_bit(tmp_path: Path) -> None:
    cell, device = cell_of(), torch.device("cpu")

    def run(storage: Path, most: float) -> dict[str, Any]:
        seen: list[int] = []
        return run_cell(
            cell,
            digest("digits"),
            load("digits"),
            storage,
            device=device,
            checkpoint_every=1,
            on_event=lambda event: seen.append(1),
            stop=lambda: len(seen) >= most,
        )

    whole = run(tmp_path / "whole", float("inf"))
    for _ in range(2):
        with pytest.raises(StoppedError):
            run(tmp_path / "parts", 1)
    parts = run(tmp_path / "parts", float("inf"))
    assert whole["files"]["model.safetensors"] == parts["files"]["model.safetensors"]
    assert whole["accuracy"] == parts["accuracy"]


def test_curvenet_freezes_stages_of_a_torchvision_network(tmp_path: Path) -> None:
    options = {**SETTINGS, "model.name": "torchvision/resnet18", "method.removed_losses": 1}
    done = curvetune.train(
        "curvenet", profile="smoke", set={**options, "method.skip_layers": 2}, storage=tmp_path
    )
    assert done.result["weight_gap"] is None  # no label is wrong
    assert len(done.results.history(done.cell_id)) == 6  # of its probe, and its own


def test_weights_are_known_by_their_content_and_not_by_their_place(tmp_path: Path) -> None:
    save_file(network("resnet18", seed=3).state_dict(), tmp_path / "a.safetensors")
    torch.save({"state_dict": network("resnet18", seed=3).state_dict()}, tmp_path / "b.pth")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "c.safetensors").write_bytes(
        (tmp_path / "a.safetensors").read_bytes()
    )
    ids = [
        CellConfig.model_validate({"model": {"name": "torchvision/resnet18", **more}}).cell_id("d")
        for more in (
            {},
            {"weights": str(tmp_path / "a.safetensors")},
            {"weights": str(tmp_path / "elsewhere" / "c.safetensors")},
            {"weights": str(tmp_path / "b.pth")},
        )
    ]
    assert ids[1] == ids[2]
    assert len(set(ids)) == 3


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_weights_of_other_classes_keep_all_but_the_last_layer(suffix: str, tmp_path: Path) -> None:
    stored = models.build(
        f"{TORCHVISION}resnet18", 7, 3, generator=torch.Generator().manual_seed(3)
    ).state_dict()
    path = tmp_path / f"w{suffix}"
    if suffix == ".pth":
        torch.save(stored, path)
    else:
        save_file(stored, path)
    model = network("resnet18")
    fresh = model.state_dict()["fc.weight"].clone()
    load_weights(model, path, None)
    assert torch.equal(model.state_dict()["conv1.weight"], stored["conv1.weight"])
    assert torch.equal(model.state_dict()["fc.weight"], fresh)


def test_wrong_weights_are_refused_with_what_is_wrong(tmp_path: Path) -> None:
    model = network("resnet18")

    def refusal(path: Path, digest: str | None = None) -> str:
        with pytest.raises(ConfigError) as refused:
            load_weights(model, path, digest)
        return str(refused.value)

    assert "cannot be read" in refusal(tmp_path / "none.pth")
    save_file(network("shufflenet_v2_x0_5").state_dict(), tmp_path / "other.safetensors")
    assert "are of another network" in refusal(tmp_path / "other.safetensors")
    (tmp_path / "text.pth").write_text("not tensors")
    assert "are no plain tensors" in refusal(tmp_path / "text.pth")
    (tmp_path / "text.safetensors").write_text("not tensors")
    assert "are no plain tensors" in refusal(tmp_path / "text.safetensors")
    torch.save([torch.zeros(1)], tmp_path / "list.pth")
    assert "are a list" in refusal(tmp_path / "list.pth")
    torch.save(nn.Linear(2, 2), tmp_path / "module.pth")  # it would have to be run
    assert "are no plain tensors" in refusal(tmp_path / "module.pth")
    save_file(model.state_dict(), tmp_path / "good.safetensors")
    assert "have changed since" in refusal(tmp_path / "good.safetensors", "0" * 16)
    with pytest.raises(ConfigError, match=r"weights='none.pth': cannot be read"):
        validate({"model": {"weights": "none.pth"}}, CellConfig, "test")


def test_a_cell_starts_from_weights(tmp_path: Path) -> None:
    options = {**SETTINGS, "model.name": "torchvision/resnet18"}
    first = curvetune.train("cross-entropy", profile="smoke", set=options, storage=tmp_path / "st")
    save_file(network("resnet18", 1, 8, seed=5).state_dict(), tmp_path / "w.safetensors")
    again = curvetune.train(
        "cross-entropy",
        profile="smoke",
        set={**options, "model.weights": str(tmp_path / "w.safetensors")},
        storage=tmp_path / "st",
    )
    assert again.cell_id != first.cell_id
    losses = [cell.results.history(cell.cell_id)["loss"][0] for cell in (first, again)]
    assert losses[0] != losses[1]


def test_what_cannot_train_on_the_images_is_told_before_anything_is_trained(tmp_path: Path) -> None:
    def refusal(**more: Any) -> str:
        with pytest.raises(ConfigError) as refused:
            curvetune.train(
                "curvenet",
                profile="smoke",
                set={**SETTINGS, "method.removed_losses": 1, **more},
                storage=tmp_path,
            )
        return str(refused.value)

    vit = refusal(**{"model.name": "torchvision/vit_b_16"})
    assert "cannot be built for images of 1×8×8" in vit
    assert "patches of 16" in vit
    dense = {"model.name": "torchvision/densenet121", "method.skip_layers": 1}
    assert "has no .stages, and none can be derived; allowed is" in refusal(**dense)
    save_file(network("resnet18").state_dict(), tmp_path / "w.safetensors")
    weights = {"model.weights": str(tmp_path / "w.safetensors")}
    assert "are of another network" in refusal(**weights)
    assert not list(tmp_path.glob("probes/*"))
    assert not list(tmp_path.glob("cells/*"))


def test_suspects_of_a_cell_that_began_with_weights_need_not_have_them(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file(network("resnet18", 1, 8, seed=5).state_dict(), path)
    options = {**SETTINGS, "model.name": "torchvision/resnet18", "model.weights": str(path)}
    cell = curvetune.train("cross-entropy", profile="smoke", set=options, storage=tmp_path / "st")
    path.unlink()
    frame = cell.results.suspects(cell.cell_id)
    assert frame["other_label"].null_count() == 0  # what its classifier takes each image for


def test_a_plan_prices_it_without_making_its_values(tmp_path: Path) -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "curvetune",
            "plan",
            "digits",
            "--json",
            "--storage",
            str(tmp_path),
            "--set",
            "model.name=torchvision/resnet50",
        ],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(Path(curvetune.__file__).parents[1])},
    )
    models_bytes = json.loads(done.stdout)["price"]["disk"]["models_bytes"]
    runs = 36 + 12  # cells and probes
    parameters = sum(p.numel() for p in network("resnet50").parameters())
    assert models_bytes == pytest.approx(4 * parameters * runs, rel=0.02)
