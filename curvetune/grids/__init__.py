"""What a storage says of a grid and its cells; only reads."""
