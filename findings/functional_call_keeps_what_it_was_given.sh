#!/usr/bin/env bash
# PyTorch 2.15.0: torch.func.functional_call is to leave a module as it was. Of a module that is in
# a model twice, as in nn.Sequential(layer, layer), it leaves the tensors that it was given.
#
# After one call layer.weight is no Parameter any more, but the plain tensor of the call. An
# optimizer that was made before goes on stepping the old Parameter, which nothing reads now: the
# loss stays where it is, and nothing is raised or warned of. parameters() still lists two entries,
# so a count does not show it. It happens with the default tie_weights=True. With
# tie_weights=False, and for two layers that share one Parameter (tied weights, which the option is
# for), the Parameter is put back.
#
# Whoever uses functional_call for a virtual step of meta-learning, or for an ensemble, and then
# trains the model itself, trains nothing in such a layer.
#
# Seen on 2026-11-28: "is the same Parameter" False for the layer used twice, True for the others;
# loss over three steps of SGD 4.0, 4.0, 4.0 instead of falling.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv env
env/bin/pip install -q numpy torch==2.15.0
env/bin/python -W ignore - <<'PY'
import torch
from torch import nn
from torch.func import functional_call


def after_a_call(model, layer, **options):
    """Return whether the layer has its own Parameter after a call with other values."""
    before = layer.weight
    others = {name: value.detach() + 1 for name, value in model.named_parameters()}
    functional_call(model, others, (torch.zeros(1, 2),), **options)
    return layer.weight is before and isinstance(layer.weight, nn.Parameter)


def twice():
    layer = nn.Linear(2, 2)
    return nn.Sequential(layer, layer), layer


def tied():
    first, second = nn.Linear(2, 2), nn.Linear(2, 2)
    second.weight = first.weight
    return nn.Sequential(first, second), first


def once():
    layer = nn.Linear(2, 2)
    return nn.Sequential(layer, nn.Linear(2, 2)), layer


found = {
    "used twice": after_a_call(*twice()),
    "used twice, tie_weights=False": after_a_call(*twice(), tie_weights=False),
    "tied weights": after_a_call(*tied()),
    "used once": after_a_call(*once()),
}
print("torch", torch.__version__)
for name, same in found.items():
    print(f"{name}: is the same Parameter {same}")
assert list(found.values()) == [False, True, True, True]


def losses(call):
    """Return the losses of three steps of SGD, after a functional call or without one."""
    layer = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        layer.weight.fill_(2.0)
    model = nn.Sequential(layer, layer)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    if call:  # with the very values that it has
        functional_call(model, {"0.weight": layer.weight.detach().clone()}, (torch.ones(1, 1),))
    seen = []
    for _ in range(3):
        optimizer.zero_grad()
        loss = model(torch.ones(1, 1)).sum()
        if loss.requires_grad:
            loss.backward()
        optimizer.step()
        seen.append(loss.item())
    return seen


print("without a call:", losses(False))
print("after a call:  ", losses(True))
assert losses(False)[2] < losses(False)[0] == 4.0
assert losses(True) == [4.0, 4.0, 4.0]
print("as seen before")
PY
