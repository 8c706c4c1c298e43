"""Labels that people gave to images beside the true ones: their files, and cells about them."""
