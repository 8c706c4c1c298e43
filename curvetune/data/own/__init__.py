"""Folders of images as people have them: which part of one is which, and what is held out."""
