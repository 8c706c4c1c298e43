"""Images of any number: decoded once per machine, kept as shards of pixels, mapped by training.

index(table, size, on_bad)   looks at every image once, and says which can be used
Shards                       the pixels of a whole table; ShardPixels are some of them
"""

from curvetune.data.stream.indexing import Indexed, index
from curvetune.data.stream.pixels import ShardPixels

__all__ = ["Indexed", "ShardPixels", "index"]
