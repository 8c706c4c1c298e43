"""Published numbers, and which of a grid's can stand beside them."""
