"""`python -m fisherscope`: the command line."""

from fisherscope.cli import main

if __name__ == "__main__":
    main()
