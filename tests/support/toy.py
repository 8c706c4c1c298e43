"""A toy problem that every method can be run on: sixty separable images, three classes."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from curvetune.config import METHOD_SECTIONS, MethodConfig
from curvetune.conformance import problem
from curvetune.conformance.problem import (
    NUM_CLASSES,
    NUM_EPOCHS,
    NUM_SAMPLES,
    batches,
    labels,
    new_model,
    pretrained,
    tensors,
)
from curvetune.conformance.problem import batch_of as toy_batch
from curvetune.conformance.problem import parts_for as toy_parts
from curvetune.conformance.problem import small_set as toy_set
from curvetune.methods import METHODS, Method
from curvetune.training.engine import Engine, Pair

__all__ = [
    "CASES",
    "NUM_CLASSES",
    "NUM_EPOCHS",
    "NUM_SAMPLES",
    "Case",
    "batches",
    "labels",
    "new_model",
    "pairs_of",
    "pretrained",
    "section",
    "tensors",
    "toy",
    "toy_batch",
    "toy_parts",
    "toy_set",
    "train_on",
]

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
        ("curvenet one update late", {"removed_losses": 1, "update": "lag-1"}),
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
    "dynamic-loss": [
        ("dynamic-loss", {"warm_epochs": 2}),
        (
            "dynamic-loss with the clean set",
            {"warm_epochs": 0, "meta": "clean", "virtual_step": "sgd"},
        ),
    ],
    "rolt-drw": [("rolt-drw", {}), ("rolt", {"clean_start": 0.0, "drw": False})],
    "gce": [  # pruned at epochs that the suite visits
        ("gce", {}),
        ("gce, truncated", {"truncated": True, "keep_above": 0.4, "prune_every": 1}),
    ],
    "logit-adjustment": [
        ("logit-adjustment", {}),
        ("logit-adjustment, post-hoc", {"mode": "post-hoc", "tau": 1.5}),
    ],
    "dividemix": [
        ("dividemix", {}),
        (
            "dividemix for asymmetric noise",
            {"divide_start": 1.0, "confidence_penalty": True, "ramp_share": 0.0},
        ),
    ],
    "elr-plus": [  # averages that follow within a few steps: it is their loss that is told
        ("elr-plus", {"average_decay": 0.5}),
        ("elr-plus, growing", {"average_ramp": 0.0, "average_decay": 0.5, "ramp_share": 1.0}),
    ],
}
Case = tuple[str, dict[str, Any]]  # its title and the options of the method's section
CASES: list[Case] = [case for method in METHODS for case in VARIANTS.get(method, [(method, {})])]
METHOD_OF = {
    title: method for method in METHODS for title, _ in VARIANTS.get(method, [(method, {})])
}


def section(case: Case) -> MethodConfig:
    """Return the config of a case."""
    return METHOD_SECTIONS[METHOD_OF[case[0]]](**case[1])


def toy(case: Case, seed: int = 0, epochs: int = 10, device: torch.device = problem.CPU) -> Method:
    """Return the method of a case on a small network."""
    return problem.build(section(case), seed, epochs, device)


def pairs_of(sizes: Sequence[int], seed: int) -> list[Pair]:
    """Return an epoch of batches of such sizes, each with a meta batch."""
    generator = torch.Generator().manual_seed(seed)
    made: list[Pair] = []
    for size in sizes:
        index = torch.randperm(60, generator=generator)
        made.append((toy_batch(index[:size]), toy_batch(index[-20:])))
    return made


def train_on(
    method: Method, engine: Engine, sizes: Sequence[int], epochs: int
) -> list[tuple[Tensor, dict[str, Tensor]]]:
    """Give a method some epochs; return the indices and the metrics of each step."""
    seen = []
    for epoch in range(epochs):
        method.start_epoch(epoch)
        for batch, metrics in engine.run(method, pairs_of(sizes, epoch)):
            seen.append((batch.index, {name: value.clone() for name, value in metrics.items()}))
    return seen
