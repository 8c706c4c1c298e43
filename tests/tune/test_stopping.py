import os
import signal
import time

import pytest

from curvetune.tune import stopping
from curvetune.tune.stopping import Stopping


def send(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)


def test_before_trials_run_the_first_signal_ends_the_command() -> None:
    stop = Stopping()
    with pytest.raises(KeyboardInterrupt), stop.handled():
        send(signal.SIGTERM)
    assert stop.preempted


def test_the_first_signal_tells_the_trials_and_the_second_ends_everything() -> None:
    stop, told = Stopping(), []
    with stop.handled(), stop.telling(lambda: told.append(1)):
        send(signal.SIGINT)
        assert told == [1]
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGINT)
    assert told == [1]
    assert not stop.preempted


def test_the_grace_of_a_sigterm_ends_and_a_sigint_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopping, "GRACE_S", stopping.RESERVE_S + 0.2)
    patient = Stopping()
    with patient.handled(), patient.telling(lambda: None):
        send(signal.SIGINT)
        time.sleep(0.5)
    preempted = Stopping()
    began = time.monotonic()
    with preempted.handled(), preempted.telling(lambda: None):
        send(signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            time.sleep(10)
    assert 0.1 < time.monotonic() - began < 5
    assert preempted.preempted  # the timer's own signal is not taken for Ctrl-C


def test_handlers_are_put_back() -> None:
    before = [signal.getsignal(name) for name in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)]
    with Stopping().handled():
        assert signal.getsignal(signal.SIGINT) is not before[0]
    after = [signal.getsignal(name) for name in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)]
    assert after == before
