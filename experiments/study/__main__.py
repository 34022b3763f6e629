"""Write every number of docs/study.md: `python -m experiments.study`."""

from experiments.study.numbers import main

main()
