"""Ray that starts on this machine while the driver still reads images and makes splits.

Ray's processes and its first workers take as long to start as PyTorch takes the driver to import,
and on two cores both fit beside each other.
"""

import os
import threading
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

from curvetune.planning.resources import LaunchOptions

# What every trial imports. Ray starts a worker for each CPU with itself, and lets it import these.
PRELOADED = "curvetune.tune.trainable,curvetune.cell"
GPUS = ("nvidia[0-9]*", "kfd", "accel*")  # in /dev


class Early:
    """Starts Ray in a thread; whoever enters it waits until it is there, and ends it.

    Args:
        trials: how many there are.
    """

    def __init__(self, options: LaunchOptions, trials: int) -> None:
        self._options = options
        self._preloads = every_worker_trains(options, trials)
        self._error: BaseException | None = None
        self._is_there, self._is_over = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="ray", daemon=True)
        self._thread.start()

    def __enter__(self) -> None:
        """Wait for Ray.

        Raises:
            BackendError: it could not be started.
        """
        self._is_there.wait()
        if self._error is not None:
            raise self._error

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.end()

    def end(self) -> None:
        """End Ray, if it is there; safe to call again."""
        self._is_over.set()
        self._thread.join()

    def _run(self) -> None:
        """Start Ray, and end it: its processes live no longer than the thread that started them."""
        try:
            from curvetune.tune.cluster import connected, environment

            with ExitStack() as here:
                with environment(
                    {"RAY_preload_python_modules": PRELOADED} if self._preloads else {}
                ):
                    here.enter_context(connected(self._options.address))
                self._is_there.set()
                self._is_over.wait()
        except BaseException as error:
            self._error = error
        finally:
            self._is_there.set()


def every_worker_trains(options: LaunchOptions, trials: int) -> bool:
    """Say whether each worker that Ray starts with itself, one for a CPU, will run trials."""
    cpus = os.cpu_count() or 1
    has_gpu = any(next(Path("/dev").glob(name), None) is not None for name in GPUS)
    return (
        not has_gpu
        and trials >= cpus
        and (options.cpus_per_trial or 1) <= 1
        and (options.max_concurrent or cpus) >= cpus
        and not options.data_cpus
    )


def is_here(options: LaunchOptions) -> bool:
    """Say whether a launch will start Ray on this machine."""
    from curvetune.tune.address import chosen_address

    return chosen_address(options.address)[0] is None
