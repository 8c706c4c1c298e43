"""Steps on a CPU that are recorded once, and then done again without Python and autograd."""
