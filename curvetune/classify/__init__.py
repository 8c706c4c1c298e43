"""Stored classifiers put to use: loaded with all that they need, asked, and written for others."""

from curvetune.classify.classifier import Classifier, Predictions
from curvetune.classify.of_cell import classifier_of

__all__ = ["Classifier", "Predictions", "classifier_of"]
