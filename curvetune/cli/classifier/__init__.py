"""Commands that put a trained classifier to use, and clean what it was trained on."""
