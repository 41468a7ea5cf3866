"""`python -m lyra` is the `lyra` command."""

from lyra.cli import main

main()
