"""A data set, loaders, and a loop that trains in name only."""

import numpy as np
import torch
from torch.utils.data import DataLoader, TensorDataset

from fisherscope.measures import instruments
from fisherscope.policy import parse
from fisherscope.sampler import DynamicBatchSampler

SAMPLES = 103


DATA = TensorDataset(torch.arange(SAMPLES))


LOADERS = [
    {"num_workers": 0},
    {"num_workers": 1, "prefetch_factor": 3},
    {"num_workers": 2, "prefetch_factor": 2},
    {"num_workers": 2, "prefetch_factor": 2, "persistent_workers": True},
]


def ids(options):
    return "-".join(str(value) for value in options.values())


def optimizer(*rates):
    return torch.optim.SGD([{"params": [torch.zeros(1, requires_grad=True)], "lr": rate} for rate in rates])


def row_at(step):
    """A measurement that follows from the step: noise that grows, so that the norm test asks for more."""
    columns = np.random.default_rng(step).normal(size=(4, 16)) * (1 + 0.4 * step) + 2.0
    return {**instruments(columns.T @ columns), "batch_size": 16, "train/loss": 1.0}


def run(sampler, epochs, options=None, every=3, opened=None):
    """Train in name only: (indices, rate, decided size) of each batch; a row every `every` steps."""
    used = opened or optimizer(0.5)
    sampler.attach(used)
    loader = DataLoader(DATA, batch_sampler=sampler, **(options or {}))
    seen = []
    for _ in range(epochs):
        for (batch,) in loader:
            step, current = sampler.current.step, sampler.current
            assert current.size == len(batch)
            seen.append((batch.tolist(), used.param_groups[0]["lr"], current.decision.batch_size))
            sampler.step(row_at(step) if step % every == 0 else None)
    return seen


def built(name, lag=0, seed=0, epochs=7, **options):
    return DynamicBatchSampler(DATA, parse(name, lr=0.1, epochs=epochs), seed, lag, **options)
