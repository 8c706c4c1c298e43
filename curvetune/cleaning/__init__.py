"""Data sets written anew without suspect labels, or with corrected ones; what is read stays."""
