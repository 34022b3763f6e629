"""Rows of measurements, and the decisions of a policy that reads them."""

import math
from pathlib import Path

import numpy as np

from fisherscope.measures import instruments
from fisherscope.policy import (
    FAMILIES,
    WRAPPERS,
    Decision,
    Rate,
    parse,
)

SAMPLES = 1000


NEEDED = {"multiple": "multiple:of=8"}


BEACON = f"beacon:{Path(__file__).parents[1] / 'data' / 'beacons-planted.json'}"


NAMES = [
    *(f"s32-{family}".rstrip("-") for family in FAMILIES),
    *(f"s32-norm-test+{NEEDED.get(family, family)}" for family in WRAPPERS),
    *(f"s32-growth+{NEEDED.get(family, family)}" for family in WRAPPERS),
    "s32+constant",
    "s32+decay:at=0.25/0.5/0.9,by=0.5",
    "s32+constant:warmup=0.1",
    "s32+decay:at=0.5/0.75,by=0.1,warmup=0.1",
    "s32-to-128-MS+cosine:warmup=0.05,end=0.1",
    "s32-cabs+linear-decay:end=0.001+linear",
    "s32-increase+wsd:warmup=0.1,decay=0.3+bounds:max=512",
    "s32-to-512",
    "s512-to-32-MS",
    "s32-to-128-MS+sqrt",
    "s32-to-128+constant+sqrt+beta2:reference=64",
    "s32-cabs+betas",
    "s32-norm-test:memory=0.5,theta=0.3+multiple:of=8+bounds:min=8,max=512+hysteresis+linear",
    "s32-noise-scale:factor=0.5+constant+growth-limit:factor=3.0,epochs=0.1+adascale:reference=64",
    BEACON,
    f"{BEACON}+bounds:max=128+sqrt",
]


def row_of(columns, lr=0.1, loss=1.0):
    """The monitor's row of these per-sample gradients."""
    return {
        **instruments(columns.T @ columns),
        "batch_size": columns.shape[1],
        "train/loss": loss,
        "lr": lr,
        "fisher/cond": float(np.linalg.cond(columns)) if columns.any() else math.nan,
        "fisher/trace": float((columns**2).sum()),
        "fisher/energy": lr * float((columns**2).sum()) ** 0.5 / columns.shape[1],
        "fisher/energy_sum": 1.0,
        "steps_since": 1,
        "samples": columns.shape[1],
    }


def parsed(name, lr=0.1, epochs=10):
    return parse(name, lr=lr, epochs=epochs)


COLUMNS = [
    np.random.default_rng(seed).normal(size=(7, n)) * spread
    + np.random.default_rng(seed + 50).normal(size=(7, 1))
    for seed, (n, spread) in enumerate([(2, 3.0), (8, 10.0), (33, 0.1), (64, 30.0), (64, 2.0)])
]


class Script:
    """A policy that says given sizes: what the wrappers' own behaviour is told by."""

    closed_loop = False
    rate = Rate(0.1, 10, milestones=())
    name = "script"

    def __init__(self, *sizes):
        self.sizes = sizes

    def init(self):
        return {"next": 0}

    def update(self, state, observation):
        size = self.sizes[min(state["next"], len(self.sizes) - 1)]
        return {"next": state["next"] + 1}, Decision(size, 0.1)
