"""A toy problem that every method can be run on: sixty separable images, three classes."""

from functools import lru_cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from curvetune import methods, models
from curvetune.batch import Batch
from curvetune.config import (
    METHOD_SECTIONS,
    AllocateConfig,
    HalfConfig,
    MethodConfig,
    ProbeConfig,
)
from curvetune.data.resident import ResidentSet
from curvetune.data.source import Dataset, Images
from curvetune.methods import METHODS, Method, Parts

NUM_SAMPLES, NUM_CLASSES, NUM_EPOCHS = 60, 3, 6

# Cases of a method beside its defaults: options that suit six epochs of curves, and its variants.
VARIANTS: dict[str, list[tuple[str, dict[str, Any]]]] = {
    "class-balanced": [
        ("class-balanced", {}),
        ("class-balanced, sigmoid", {"base": "sigmoid"}),
        ("class-balanced, focal", {"base": "focal", "focal_gamma": 0.5}),
    ],
    "focal": [
        ("focal", {}),
        ("focal, sigmoid", {"focal_form": "sigmoid", "focal_alpha": 0.25}),
    ],
    "ldam-drw": [("ldam-drw", {}), ("ldam", {"drw": False, "logit_scale": 10.0})],
    "bootstrapping": [
        ("bootstrapping", {}),
        ("bootstrapping, detached", {"detach": True, "bootstrap_beta": 0.5}),
        ("bootstrapping, hard", {"bootstrap": "hard"}),
    ],
    "curvenet": [
        ("curvenet", {"removed_losses": 1}),
        ("curvenet, three stages frozen", {"removed_losses": 1, "skip_layers": 3}),
        (
            "curvenet of the paper's text",
            {
                "removed_losses": 1,
                "virtual_step": "sgd",
                "head_layers": 2,
                "late_weights": "frozen",
            },
        ),
        ("curvenet with drw", {"removed_losses": 1, "drw": True}),
        (
            "curvenet by finite differences",
            {"removed_losses": 1, "meta_gradient": "finite_difference"},
        ),
        ("curvenet of margins", {"removed_losses": 1, "curve": "margin"}),
        ("curvenet of losses and margins", {"removed_losses": 1, "curve": "both"}),
    ],
    "co-teaching": [("co-teaching", {}), ("co-teaching with adam", {"optimizer": "adam"})],
    "o2u-net": [("o2u-net", {"o2u_probe": {"epochs": 6, "cyclic_start": 2}})],
    "mentornet": [
        ("mentornet", {}),
        ("mentornet, data-driven", {"kind": "dd", "mentor_steps": 20}),
    ],
    "mw-net-imb": [
        ("mw-net-imb", {}),
        ("mw-net-imb, one stage frozen", {"virtual_step": "optimizer", "skip_layers": 1}),
    ],
    "famus": [
        ("famus", {}),
        ("famus without the match", {"match_weight": 0.0, "open_layers": 2.0}),
    ],
    "har": [("har", {}), ("har with drw", {"reg_weight": 10.0, "drw": True})],
    "s-adaptation": [  # of ten epochs, one has the layer fixed
        ("s-adaptation", {"fixed_share": 0.1, "start_from": "fresh"}),
        ("s-adaptation, complex", {"fixed_share": 0.1, "form": "complex", "confusion": "soft"}),
    ],
    "lccn": [
        ("lccn", {"fixed_share": 0.1, "refresh_epochs": 2.0}),
        (
            "lccn from fresh weights",
            {"fixed_share": 0.0, "start_from": "fresh", "prior_count": 3.0},
        ),
    ],
    "cleannet": [  # a short CleanNet; rounds begin at epochs that the suite visits
        ("cleannet", {"cleannet_steps": 30, "rounds": (0.0, 0.2)}),
        ("cleannet, hard", {"cleannet_steps": 30, "rounds": (0.1, 0.5), "weighting": "hard"}),
    ],
    "metacleaner": [
        ("metacleaner", {}),
        ("metacleaner, softplus", {"group_size": 3, "score": "softplus"}),
    ],
    "self-learning": [
        ("self-learning", {"correct_start": 0.5, "drawn_per_class": 20}),
        ("self-learning from the start", {"correct_start": 0.0}),
    ],
    "distill": [("distill", {}), ("distill as released", {"ramp_share": 0.0})],
    "rolt-drw": [("rolt-drw", {}), ("rolt", {"clean_start": 0.0, "drw": False})],
}
Case = tuple[str, dict[str, Any]]  # its title and the options of the method's section
CASES: list[Case] = [case for method in METHODS for case in VARIANTS.get(method, [(method, {})])]
METHOD_OF = {
    title: method for method in METHODS for title, _ in VARIANTS.get(method, [(method, {})])
}


def section(case: Case) -> MethodConfig:
    """Return the config of a case."""
    return METHOD_SECTIONS[METHOD_OF[case[0]]](**case[1])


def labels() -> Tensor:
    """Return given labels, (N,); class 2 has two samples."""
    y = torch.arange(NUM_SAMPLES) % 2
    y[-2:] = 2
    return y


@lru_cache
def toy_set() -> ResidentSet:
    """Return separable images, (N, 1, 8, 8), without augmentation: every view is the image."""
    y = labels()
    generator = torch.Generator().manual_seed(0)
    x = 0.3 * torch.randn(NUM_SAMPLES, 1, 8, 8, generator=generator)
    x[torch.arange(NUM_SAMPLES), 0, 2 * y, :] += 2
    pixels = (64 * x + 64).clamp(0, 255).to(torch.uint8).numpy()
    images = Images(pixels, np.asarray(y))
    names = tuple(str(k) for k in range(NUM_CLASSES))
    facts = Dataset("toy", images, images, names, (64.0,), (64.0,), pad=0, flip=False)
    return ResidentSet(images.x, images.y, facts, torch.device("cpu"))


def toy_batch(index: Tensor) -> Batch:
    """Return the samples of `index`, (B,)."""
    (whole,) = toy_set().ordered(NUM_SAMPLES)
    return Batch(whole.x[index], whole.y[index], index)


def batches(count: int, size: int = 20) -> list[Batch]:
    """Return random batches, always the same."""
    generator = torch.Generator().manual_seed(1)
    return [
        toy_batch(torch.randperm(NUM_SAMPLES, generator=generator)[:size]) for _ in range(count)
    ]


def new_model(seed: int = 0) -> nn.Module:
    """Return a fresh small classifier."""
    generator = torch.Generator().manual_seed(seed)
    return models.build("resnet8", NUM_CLASSES, 1, init="kaiming", generator=generator)


@lru_cache
def _pretrained_state() -> dict[str, Tensor]:
    """Return the weights of a classifier after fifteen steps of cross entropy."""
    model = new_model(7)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
    for batch in batches(15):
        optimizer.zero_grad()
        F.cross_entropy(model(batch.x), batch.y).backward()
        optimizer.step()
    return model.state_dict()


def pretrained() -> nn.Module:
    """Return a copy of a classifier that knows most of the labels."""
    model = new_model()
    model.load_state_dict(_pretrained_state())
    return model


def toy_parts(config: MethodConfig, seed: int = 0, epochs: int = 10) -> Parts:
    """Return what the builder of a method gets, on the toy problem.

    The learning rate drops at epoch 2. Curves are random; half of them are NaN for a method whose
    probe saw half of the samples.
    """
    curves = torch.rand(NUM_SAMPLES, NUM_EPOCHS, generator=torch.Generator().manual_seed(2))
    allocate = AllocateConfig(epochs=epochs, lr=0.02, warmup=0, milestones=(2,))
    if isinstance(config.probe_recipe(ProbeConfig(), allocate), HalfConfig):
        curves[::2] = torch.nan
    return Parts(
        new_model=lambda k: new_model(seed + 100 * k),
        recipe=allocate,
        first_drop=2,
        y=labels(),
        num_classes=NUM_CLASSES,
        train=toy_set(),
        generator=torch.Generator().manual_seed(seed),
        draws=torch.Generator().manual_seed(seed + 1),
        meta=toy_set() if config.meta_set else None,
        noise_rate=0.2,
        curves=curves,
        margins=3 - 10 * curves,
        pretrained=pretrained,
    )


def toy(case: Case, seed: int = 0, epochs: int = 10) -> Method:
    """Return the method of a case on a small network."""
    config = section(case)
    return methods.build(config, toy_parts(config, seed, epochs))


def tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    return [tensor for item in items for tensor in tensors(item)]
