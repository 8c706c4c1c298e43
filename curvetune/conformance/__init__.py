"""`curvetune check PLUGIN`: whether what a plugin registers keeps what the loop relies on."""
