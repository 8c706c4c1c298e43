#!/usr/bin/env bash
# SciPy 1.17.1, scipy.stats.wilcoxon: with 14 or more pairs of which one is zero or tied, the default
# method="auto" is the normal approximation, without a word, and can give a p that no sample of so
# many non-zero pairs can have.
#
# Five wins and nine equal pairs: .0431. Five signs have 32 outcomes, so no two-sided p is below
# .0625. With eight equal pairs in place of nine the answer is .0625, since up to 13 pairs `auto`
# permutes. method="exact" is no way out where there are ties: it takes the distribution of ranks
# 1..n, which tied differences do not have (1, 1, 2, 3, 3, -2, -1: .2969 for .2812).
#
# A reader of the documentation expects `auto` to be exact for small samples (it says n <= 50 for
# samples without ties and zeros), and p to be conservative. Grids of methods over settings and
# seeds have such ties and zeros all the time.
#
# Seen on 2026-11-27: 5 wins + 9 zeros .04311; 5 wins + 8 zeros .0625; the same enumerated .0625.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv env
env/bin/pip install -q scipy==1.17.1 numpy==2.4.6
env/bin/python - <<'PY'
from itertools import product

import numpy as np
import scipy
from scipy.stats import rankdata, wilcoxon


def enumerated(differences):
    """All signs of the non-zero differences, midranks: the definition."""
    d = np.array([v for v in differences if v != 0])
    ranks = rankdata(abs(d))
    total = ranks.sum()
    seen = min(ranks[d > 0].sum(), ranks[d < 0].sum())
    sums = [ranks[np.array(signs)].sum() for signs in product((False, True), repeat=len(d))]
    return sum(min(s, total - s) <= seen + 1e-9 for s in sums) / len(sums)


print("scipy", scipy.__version__)
wins = [1.0, 2.0, 3.0, 4.0, 5.0]
for zeros, expected in ((8, 0.0625), (9, 0.04311)):
    d = wins + [0.0] * zeros
    auto, true = wilcoxon(d).pvalue, enumerated(d)
    print(f"5 wins and {zeros} zeros: auto {auto:.5f}, enumerated {true:.5f}, smallest {2 * .5**5}")
    assert abs(auto - expected) < 1e-4
    assert true == 0.0625

ties = [1.0, 1.0, 2.0, 3.0, 3.0, -2.0, -1.0]
exact, true = wilcoxon(ties, method="exact").pvalue, enumerated(ties)
print(f"ties {ties}: method='exact' {exact:.4f}, enumerated {true:.4f}")
assert abs(exact - true) > 0.005
print("as seen before")
PY
