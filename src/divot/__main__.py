"""`python -m divot`: the command line, for launchers that start a module."""

from divot.cli.main import main

main()
