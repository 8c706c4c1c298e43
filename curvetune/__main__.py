"""`python -m curvetune`: the command line."""

from curvetune.cli import main

main()
