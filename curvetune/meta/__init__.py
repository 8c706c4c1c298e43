"""The gradient of the meta loss with respect to the sample weights."""
