"""A network of any architecture as plain source: a function of its weights and of images.

torch.export writes down which operations of PyTorch a network runs. Their source needs PyTorch
alone: neither this package nor torchvision nor a plugin. PyTorch's own file for it, .pt2, is not
used: `torch.export.load` unpickles, by its own words, so it must not be given what others sent.
"""

import re
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.export import Dim, ExportedProgram, export

from curvetune.classify.classifier import Classifier
from curvetune.errors import ConfigError, printable

MOST = 2**20  # images at once
KNOWN = frozenset({"torch", "device", "inf", "nan", "NoneType", "fx_pytree", "pytree"})
HEAD = '''"""What the network computes, as PyTorch {version} wrote it down; see classifier.py."""

import torch
from torch import device

inf, nan, NoneType = float("inf"), float("nan"), type(None)


def forward(weights, {images}):
'''


@dataclass(frozen=True, eq=False)
class Program:
    """A network as source, and the tensors that it asks for by name."""

    source: str
    weights: dict[str, Tensor]


def program_of(classifier: Classifier) -> Program:
    """Return a classifier, its preprocessing included, as a program.

    Raises:
        ConfigError: PyTorch cannot write it down.
    """
    exported = traced(classifier)
    code = exported.graph.python_code("self")
    body = code.src[code.src.index("):") + 2 :].strip("\n")
    placeholders = [spec for spec in exported.graph_signature.input_specs if spec.target]
    (images,) = exported.graph_signature.user_inputs
    used = [s for s in placeholders if re.search(rf"\b{re.escape(s.arg.name)}\b", body)]
    unknown = set(code.globals) - KNOWN
    if unknown or "self." in body:
        raise _refused("it has operations that are no plain ones of PyTorch")
    values = {**exported.state_dict, **exported.constants}
    weights = {str(s.target): values[str(s.target)] for s in used}
    given = [f"    {s.arg.name} = weights[{str(s.target)!r}]\n" for s in used]
    head = HEAD.format(version=torch.__version__, images=images)
    returned = re.sub(r"return \((\w+),\)\s*$", r"return \1", body)
    plain = {name: value.detach().contiguous().clone() for name, value in weights.items()}
    return Program(f"{head}{''.join(given)}{returned}\n", plain)


def traced(classifier: Classifier) -> ExportedProgram:
    """Return the operations that a classifier runs on any number of images.

    Raises:
        ConfigError: PyTorch cannot write them down.
    """
    example = example_images(classifier, 2)
    try:
        batch = Dim("batch", min=1, max=MOST)
        exported = export(classifier, (example,), dynamic_shapes=({0: batch},))
        has_parts = any(node.op == "get_attr" for node in exported.graph.nodes)
        return exported.run_decompositions({}) if has_parts else exported
    except Exception as error:  # of whatever the network's own code does
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise _refused(printable(lines[0])) from error


def example_images(classifier: Classifier, count: int) -> Tensor:
    """Return raw images of noise, (count, C, H, W), the same each time."""
    facts = classifier.facts
    shape = (count, facts.channels, *facts.size)
    generator = torch.Generator().manual_seed(0)
    return torch.randint(facts.white + 1, shape, generator=generator, dtype=torch.uint8)


def _refused(why: str) -> ConfigError:
    return ConfigError(
        f"this network cannot be exported: torch.export says: {why}. Use it with `curvetune "
        f"predict`, or in Python with Results.model(cell)"
    )
