"""curvetune: Ray Tune grids for learning under label noise and class imbalance.

Nothing is imported here: `curvetune --help` and planning must not pay for PyTorch or Ray.
`curvetune.Results` is imported when it is first asked for.
"""

from typing import Any

__version__ = "0.1.0"
__all__ = ["Results", "__version__"]


def __getattr__(name: str) -> Any:
    if name != "Results":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # by name: an import statement here would make everything in the package import the reports
    import importlib

    return importlib.import_module("curvetune.results").Results
