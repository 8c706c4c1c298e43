"""What a grid costs before it runs: hours from measured epochs, and disk."""
