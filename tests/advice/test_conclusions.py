"""Conclusions follow from values alone."""

from __future__ import annotations

import numpy as np
from tests.cases.advised_models import data
from torch import nn
from torch.nn import functional as F

import fisherscope as fs
from fisherscope.advice import GradientSamples
from fisherscope.advice.conclusions import conclude
from fisherscope.advice.step_profile import StepProfile
from fisherscope.advice.training_step import WarmUp
from fisherscope.analysis.batch_size.advice import StepTime
from fisherscope.analysis.batch_size.noise_scale import NoiseInterval


def test_conclusions_follow_from_values_alone() -> None:
    """The last phase has no model to look at."""
    noise = NoiseInterval(64.0, 1.0, 50.0, 90.0, 0.9, 16, 1024)
    samples = GradientSamples(noise, [np.eye(4)], 0.3, "", [], 16, reduced=True, coupled=False)
    steps = [StepTime(8, 0.1), StepTime(16, 0.2)]
    warmed_up = WarmUp([1.0] * 10, 20, (1.0, 0.99), 32, reduced=False, optimizer="SGD(lr=0.1)")
    workload = fs.tasks.subject_of(nn.Linear(6, 2), F.cross_entropy, data=data())
    found = conclude(workload, warmed_up, samples, StepProfile(steps, ["busy"], 2.0), 3.0, "cpu")
    assert found.every == 10  # 0.1 s more than a step of 0.2 s, at 5 %
    assert (found.warmup, found.losses, found.doubts) == (10, (1.0, 0.99), ("busy",))
    text = " ".join(found.notes)
    for part in ("wall time 2.0 × CPU", "did not fall", "only 10 of 20", "timed with SGD", "batches of 16"):
        assert part in text
