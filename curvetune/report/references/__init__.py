"""Where each method was published, as BibTeX."""
