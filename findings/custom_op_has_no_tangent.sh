#!/usr/bin/env bash
# PyTorch 2.15.0: an operator made by torch.library.custom_op with register_autograd is
# differentiable backward, and counts as a constant in forward mode.
#
# torch.func.jvp through it returns zeros; inside torch.autograd.forward_ad.dual_level the output
# has no tangent. Nothing is raised and nothing is warned of. Only if the input also requires grad
# does forward mode raise NotImplementedError, so the same call is an error in one place and a
# silent zero in another. torch.autograd.grad of the same operator is right, while torch.func.grad
# of it raises RuntimeError: two of PyTorch's transforms refuse it, and jvp alone answers.
#
# torchvision 0.29.2's own deform_conv2d and roi_align, whose kernels have a registered backward,
# also lose the tangent in silence. A Jacobian-vector product of a network that has such an
# operator is therefore wrong, and no test of the backward pass can tell.
#
# Seen on 2026-11-27 (x has 5 elements, tangent all ones):
#   custom_op: jvp [0, 0, 0, 0, 0], by central difference [1, 0.1, 1, 0.1, 1]
#   deform_conv2d: tangent None; roi_align: tangent None
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv env
env/bin/pip install -q numpy torch==2.15.0 torchvision==0.29.2
env/bin/python -W ignore - <<'PY'
import torch
import torch.autograd.forward_ad as forward_ad
import torchvision
from torchvision.ops import deform_conv2d, roi_align


@torch.library.custom_op("finding::leaky", mutates_args=())
def leaky(x: torch.Tensor) -> torch.Tensor:
    return torch.where(x > 0, x, 0.1 * x)


def keep(ctx, inputs, output):
    ctx.save_for_backward(inputs[0])


def backward(ctx, slope):
    (x,) = ctx.saved_tensors
    return slope * torch.where(x > 0, 1.0, 0.1)


leaky.register_autograd(backward, setup_context=keep)
x = torch.tensor([1.0, -1.0, 2.0, -2.0, 3.0], dtype=torch.float64)
ones = torch.ones_like(x)
_, tangent = torch.func.jvp(leaky, (x,), (ones,))
leaf = x.clone().requires_grad_()
(backward_mode,) = torch.autograd.grad(leaky(leaf).sum(), leaf)
try:
    torch.func.grad(lambda x: leaky(x).sum())(x)
except RuntimeError as error:
    print("torch.func.grad:", str(error)[:75])
else:
    raise SystemExit("torch.func.grad no longer refuses it")
central = (leaky(x + 1e-6) - leaky(x - 1e-6)) / 2e-6
print("torch", torch.__version__, "torchvision", torchvision.__version__)
print("custom_op: jvp", tangent.tolist(), "central difference", central.tolist())
assert torch.allclose(backward_mode, central)
assert not tangent.any()

with forward_ad.dual_level():
    assert forward_ad.unpack_dual(leaky(forward_ad.make_dual(x, ones))).tangent is None
with forward_ad.dual_level():
    try:
        leaky(forward_ad.make_dual(x.clone().requires_grad_(), ones))
    except NotImplementedError as error:
        print("with requires_grad:", type(error).__name__, error)
    else:
        raise SystemExit("an input that requires grad no longer raises")

image, weight = torch.ones(1, 3, 8, 8), torch.ones(2, 3, 3, 3)
offset, box = torch.zeros(1, 18, 6, 6), [torch.tensor([[0.0, 0.0, 4.0, 4.0]])]
with forward_ad.dual_level():
    dual = forward_ad.make_dual(image, torch.ones_like(image))
    for name, y in (
        ("deform_conv2d", deform_conv2d(dual, offset, weight)),
        ("roi_align", roi_align(dual, box, 2)),
    ):
        lost = forward_ad.unpack_dual(y).tangent is None
        print(f"{name}: tangent {'None' if lost else 'there'}")
        assert lost, name
print("as seen before")
PY
