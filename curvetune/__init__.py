"""curvetune: Ray Tune grids for learning under label noise and class imbalance.

    curvetune.plan("digits", seeds=3).run()     a grid through Ray; returns Results
    curvetune.train("curvenet", data="digits")  one cell in this process
    curvetune.Results("curvetune-results")      what a storage holds

Nothing is imported here: `curvetune --help` and planning must not pay for PyTorch or Ray. What is
above is imported when it is first asked for.
"""

from typing import Any

__version__ = "0.1.0"
__all__ = ["Results", "__version__", "plan", "train"]

_HOMES = {"Results": "curvetune.results", "plan": "curvetune.api", "train": "curvetune.api"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # by name: an import statement here would make everything in the package import the reports
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
