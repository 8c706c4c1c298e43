"""The options of each method, and what it says of itself."""
