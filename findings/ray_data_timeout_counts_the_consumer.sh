#!/usr/bin/env bash
# Ray 2.60.0, Ray Data: execution_no_progress_timeout_s is to end a pipeline that is stuck. It also
# ends one that is healthy, if whoever takes the batches takes longer than that over a few of them.
#
# The clock is on what operators of the pipeline hand on. Once the few blocks that may wait are
# there, they hand on nothing, since nobody takes any. So "no progress" is then the consumer's: an
# evaluation, a checkpoint or a slow step between two batches. The next batches are still there;
# after them the iterator raises ExecutionTimeoutError, and its text speaks of the pipeline.
#
# Whoever lowers the limit (30 minutes by default) to find a hang early has to count only the time
# in which the consumer waits. With a limit of 15 s: a consumer that pauses for 40 s once loses the
# pipeline; one that never pauses does not, though its whole pass takes longer than 15 s.
#
# Seen on 2026-11-28: "pauses once" ends with ExecutionTimeoutError, "never pauses" takes all rows.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv env
env/bin/pip install -q "ray[data]==2.60.0"
cat > consume.py <<'PY'
import logging
import sys
import time

import numpy as np
import ray
import ray.data
from ray.data import DataContext, ExecutionResources

LIMIT_S, PAUSE_S, ROWS, WAITING = 15, 45, 200, 20_000_000


def slowly(row):
    time.sleep(0.2)
    return {"x": row["id"], "image": np.zeros(1_000_000, np.uint8)}


pauses = sys.argv[1] == "pauses"
ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
logging.getLogger("ray.data").setLevel(logging.CRITICAL)
context = DataContext.get_current()
context.enable_progress_bars = False
context.execution_no_progress_timeout_s = LIMIT_S
context.execution_options.resource_limits = ExecutionResources.for_limits(
    cpu=2, object_store_memory=WAITING
)
taken, ended, start = 0, "took all rows", time.monotonic()
try:
    table = ray.data.range(ROWS, override_num_blocks=200).map(slowly)
    for batch in table.iter_batches(batch_size=4, prefetch_batches=1):
        taken += len(batch["x"])
        if pauses and taken == 20:
            time.sleep(PAUSE_S)
except Exception as error:
    ended = type(error).__name__
seconds = time.monotonic() - start
print(f"{sys.argv[1]}: {ended} after {taken} rows and {seconds:.0f} s (limit {LIMIT_S} s)")
if pauses:
    assert ended != "took all rows" and "Timeout" in ended, ended
else:
    assert ended == "took all rows" and taken == ROWS, (ended, taken)
    assert seconds > LIMIT_S, "the pass is to take longer than the limit"
ray.shutdown()
PY
env/bin/python -W ignore -c "import ray; print('ray', ray.__version__)"
env/bin/python -W ignore consume.py steady 2> steady.txt || { tail -20 steady.txt; exit 1; }
env/bin/python -W ignore consume.py pauses 2> pauses.txt || { tail -20 pauses.txt; exit 1; }
echo "as seen"
