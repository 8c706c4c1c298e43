"""The table of trials that a cluster must pass: what is done, and what is right.

A test of a trial has its number in its name: `test_trial_8_…`, wherever in tests/ it is. Those that
have none are shown as skipped (test_trials.py).
"""

from typing import NamedTuple


class Trial(NamedTuple):
    """A row of the table."""

    did: str
    right: str


TRIALS = {
    1: Trial("shared folder; driver on head or worker", "cells over the hosts, exit 0"),
    2: Trial("driver on a host without a Ray node", "`run it on a node, or as a Ray job`"),
    3: Trial("storage not shared", "refused before the start, host named"),
    4: Trial("storage read-only on a worker, or mounted elsewhere", "host and reason"),
    5: Trial("worker without curvetune", "one line a host, before trials; or the code travels"),
    6: Trial("worker with an older commit", "refused"),
    7: Trial("worker with another CELL_VERSION", "refused"),
    8: Trial("worker killed mid-cell, back later; cable pulled", "cell moved, host used again"),
    9: Trial("head killed", "exit 5, `run again`"),
    10: Trial("token on: file but no mode; wrong; none", "the token is refused, said at once"),
    11: Trial("an earlier local grid left a token", "detected, said"),
    12: Trial("a Ray job", "uses RAY_ADDRESS; refuses the default storage"),
    13: Trial("`ray job stop`", "a checkpoint"),
    14: Trial("head with 0 CPUs, workers to come", "waits"),
    15: Trial("a node joins in mid-grid", "used"),
    16: Trial("a trial that holds a GPU where PyTorch has no CUDA", "an error"),
    17: Trial("mixed nodes", "said"),
    18: Trial("data on the driver alone", "works, once a node"),
    19: Trial("two drivers, two hosts, same grid", "both exit 0, 0 doubled"),
    20: Trial("a clock an hour ahead", "results right, no remote clocks in estimates"),
    21: Trial("MLflow on a third host; SQLite from another host", "exit 0; the mount path is said"),
    22: Trial("what listens when curvetune starts Ray alone", "loopback, or a token"),
}
