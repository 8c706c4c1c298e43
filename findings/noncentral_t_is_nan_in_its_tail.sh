#!/usr/bin/env bash
# SciPy 1.17.1, scipy.stats.nct.cdf and scipy.special.nctdtr: the lower tail of a noncentral t
# distribution is NaN for some ordinary arguments and a number for those beside them, without a
# warning.
#
# It is the power of a two-sided t test, as textbooks write it: sf(c) + cdf(-c), with c the critical
# value and a shift of effect * sqrt(n). The lower tail is tiny, 1e-12 and less, and a reader expects
# 0 or that tiny number. Of n = 2 ... 400 at effects of 0.5 and 2.2, some are NaN, and then so is the
# power. Whoever looks for the smallest n by bisection compares with NaN, which is never at least
# 0.8, and gets a wrong n: 558 in place of 34 for an effect of 0.5 (n from 1 to 1,000).
#
# Seen on 2026-11-28: n = 400 NaN, n = 558 1.2e-36, both at an effect of 0.5; n = 34 from a search
# upwards, and 558 by bisection.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv env
env/bin/pip install -q scipy==1.17.1 numpy==2.4.6
env/bin/python - <<'PY'
import math
import warnings

import scipy
from scipy.special import nctdtr, stdtrit
from scipy.stats import nct

warnings.simplefilter("error")
print("scipy", scipy.__version__)


def power(effect, n):
    c, shift = stdtrit(n - 1, 0.975), effect * n**0.5
    return float(nct.sf(c, n - 1, shift) + nct.cdf(-c, n - 1, shift))


for n, is_nan in ((200, False), (400, True), (558, False), (600, True)):
    c, shift = stdtrit(n - 1, 0.975), 0.5 * n**0.5
    values = nct.cdf(-c, n - 1, shift), nctdtr(n - 1, shift, -c)
    print(f"effect 0.5, n {n}: lower tail {values[0]:.3g}, nctdtr {values[1]:.3g}")
    assert [math.isnan(v) for v in values] == [is_nan] * 2

low, high = 1, 1000
while high - low > 1:
    middle = (low + high) // 2
    low, high = (low, middle) if power(0.5, middle) >= 0.8 else (middle, high)
upwards = next(n for n in range(2, 1001) if power(0.5, n) >= 0.8)
print(f"smallest n for a power of 0.8: {upwards} upwards, {high} by bisection")
assert (upwards, high) == (34, 558)
print("as seen before")
PY
