"""curvetune: Ray Tune grids for learning under label noise and class imbalance.

Nothing is imported here: `curvetune --help` and planning must not pay for PyTorch or Ray.
"""

__version__ = "0.1.0"
