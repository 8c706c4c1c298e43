"""What is below curvetune: file systems, the terminal, git, and secrets in texts."""
