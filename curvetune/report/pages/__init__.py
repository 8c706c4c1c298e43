"""Pages of HTML that need no network: of a grid, of suspects; all templates and the stylesheet."""
