"""A loop whose every number follows from its state, written to a run directory; and child processes."""

from __future__ import annotations

import multiprocessing
import textwrap

import numpy as np

CONFIG = {"task": "digits/mlp", "batch_size": 32, "lr": 0.1, "epochs": 4, "seed": 0}


fork = multiprocessing.get_context("fork")


def spectrum_of(step):
    return np.random.default_rng(step).random(1 + step % 5)


def in_child(work, *args):
    """Exit code of `work` in a real child process; negative for a signal."""
    child = fork.Process(target=work, args=args)
    child.start()
    child.join()
    return child.exitcode


WRITER = textwrap.dedent(
    """
    import sys, time, fisherscope as fs
    run = fs.open_run(sys.argv[1], {"task": "x"})
    print("open", flush=True)
    for step in range(100_000):
        run.log_step({"step": step, "x": step / 7, "y": None}, [1.0, float(step)])
    """
)
