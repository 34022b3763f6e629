"""Run the comparison of dynamic sampling: `python -m experiments.dynamic TASK`."""

from experiments.dynamic.comparison import main

main()
