"""Numbers from a storage, without a word printed: means, tests, scores, suspects."""
