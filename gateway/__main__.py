"""`python -m gateway` is the command `lineside`."""

from gateway.cli import main

main()
