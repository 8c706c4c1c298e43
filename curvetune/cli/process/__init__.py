"""What holds for the whole process of a command: its streams, its home, no secrets."""
