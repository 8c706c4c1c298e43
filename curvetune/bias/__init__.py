"""Class imbalance and label noise."""
