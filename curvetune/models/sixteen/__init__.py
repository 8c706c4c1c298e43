"""Networks in 16 bits on a CPU, in oneDNN's layout."""

from curvetune.models.sixteen.stage import Kept, Moving, Stage, has_bfloat16

__all__ = ["Kept", "Moving", "Stage", "has_bfloat16"]
