"""`python -m fisherscope`: the command line."""

from fisherscope.cli import main

main()
