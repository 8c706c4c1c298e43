"""How a grid comes along, why a cell is as it is, and whether a grid can run here."""
