"""Play every way of choosing on the committed sweeps: `python -m experiments.choosing`."""

from experiments.choosing.backtest import main

main()
