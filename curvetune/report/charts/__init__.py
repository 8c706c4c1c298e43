"""Charts as plain geometry, which a template writes as SVG: a page of hundreds costs a second.

matplotlib takes half a second for each, and its colours are fixed; those of a page follow the
system, light or dark. Nothing here knows HTML: `pages/templates/charts.html.j2` does.
"""
