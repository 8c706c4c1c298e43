#!/usr/bin/env bash
# PyTorch 2.15.0 on a CPU: the last bit of an elementwise function depends on where in the tensor an
# element stands. That sums and matrix products depend on how they are cut is well known; that
# sigmoid(x)[k] need not be sigmoid(x[k]) is not.
#
# Kernels take as many numbers at once as a vector register holds, and what is left at the end one
# by one. For softplus, sigmoid, SiLU, Mish, ELU, GELU's tanh form and pow the two ways round
# differently; for exp, log1p, tanh, erf, logsigmoid and sqrt they do not. So one network in eval
# mode, on the same image and in the same process, may give other bits alone than in a batch, even
# if no operation mixes samples. A cache keyed by a digest of outputs, or a test that a stream of
# batches equals the whole, finds out. Cutting at multiples of 64 elements keeps the bits, with one
# thread: then every whole part is made of whole registers.
#
# Seen on 2026-11-28 (AVX-512, one thread): of 40,133 values cut in pieces of 7, softplus differs in
# 3,164, sigmoid in 1,636, SiLU in 1,710, Mish in 7,394, ELU in 586, pow in 31,714; exp in none.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv env
env/bin/pip install -q numpy torch==2.15.0
env/bin/python -W ignore - <<'PY'
import torch
import torch.nn.functional as F

torch.set_num_threads(1)
x = torch.linspace(-12, 12, 40133)
depend = {
    "softplus": F.softplus,
    "sigmoid": torch.sigmoid,
    "silu": F.silu,
    "mish": F.mish,
    "elu": F.elu,
    "pow": lambda part: part.abs() ** 1.7,
}
do_not = {"exp": torch.exp, "tanh": torch.tanh, "erf": torch.erf, "logsigmoid": F.logsigmoid}


def differing(function, size):
    whole = function(x)
    pieces = torch.cat([function(part.clone()) for part in x.split(size)])
    assert torch.allclose(whole, pieces, rtol=1e-5, atol=1e-6)
    return int((whole != pieces).sum())


print("torch", torch.__version__, torch.backends.cpu.get_cpu_capability())
for name, function in {**depend, **do_not}.items():
    odd, even = differing(function, 7), differing(function, 64)
    print(f"{name}: {odd:,} of {len(x):,} differ in pieces of 7, {even} in pieces of 64")
    assert (odd > 0) == (name in depend), name
    assert even == 0, name
PY
echo "as seen"
