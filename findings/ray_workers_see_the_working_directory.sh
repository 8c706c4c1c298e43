#!/usr/bin/env bash
# Ray 2.60.0: a file in the working directory shadows a module in Ray's workers though the driver
# does not see it.
#
# A driver that was started as a script or as a console script has the script's folder on sys.path,
# not the working directory. Ray's driver hands the working directory to its workers all the same
# (ray/_private/worker.py, connect), in front of the standard library. So `import colorsys` is the
# standard module in the driver, and the user's ./colorsys.py in every task. PYTHONSAFEPATH=1 in the
# environment of both changes nothing. A user's profile.py or torch.py then breaks every task, and
# what Ray tells is that workers died.
#
# Seen on 2026-11-27: the driver's colorsys is the standard library's, the task's is the file in the
# working directory; with PYTHONSAFEPATH=1 the same.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv env
env/bin/pip install -q ray==2.60.0
mkdir program here
cat > program/driver.py <<'PY'
import colorsys
import os
import sys

import ray

ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, _temp_dir=sys.argv[1])


@ray.remote
def where():
    import colorsys

    return os.path.realpath(colorsys.__file__)


here = os.path.realpath(os.getcwd())
driver, task = os.path.realpath(colorsys.__file__), ray.get(where.remote())
print("ray", ray.__version__, "safe path", bool(sys.flags.safe_path))
print("driver:", "working directory" if driver.startswith(here) else "standard library")
print("task:", "working directory" if task.startswith(here) else "standard library")
assert here not in map(os.path.realpath, filter(None, sys.path))
assert not driver.startswith(here)
assert task == os.path.join(here, "colorsys.py"), task
ray.shutdown()
PY
echo "STEPS = 100" > here/colorsys.py
cd here
export RAY_USAGE_STATS_ENABLED=0
for safe in "" 1; do
  short=$(mktemp -d /tmp/r.XXXX)
  PYTHONSAFEPATH=$safe ../env/bin/python ../program/driver.py "$short" 2> /dev/null
  rm -rf "$short"
done
echo "as seen before"
