"""Phase 4 of advice: what follows from warm-up, noise scale and step times."""

from __future__ import annotations

from fisherscope.advice.noise_estimation import GradientSamples
from fisherscope.advice.step_profile import StepProfile
from fisherscope.advice.training_step import WarmUp
from fisherscope.analysis.batch_size.advice import Advice
from fisherscope.tasks import Subject

OVERHEAD = 0.05
"""Share of the training time that measuring takes at the suggested interval."""
STAGNANT = 0.98
"""A loss above this share of its first value has not fallen."""
BUSY = 1.5
"""Wall seconds per CPU second above which the machine was busy."""


def conclude(
    subject: Subject, warm_up: WarmUp, noise: GradientSamples, profile: StepProfile, seconds: float,
    device: str,
) -> Advice:  # fmt: skip
    """Combine the results of the three measuring phases.

    Args:
        subject: Names the workload, and says where its samples came from.
        warm_up: Result of `warm_up`.
        noise: Result of `sample_noise`.
        profile: Result of `profile_steps`.
        seconds: What the phases took together.
        device: Where they ran.

    Returns:
        The advice, with the notes that a reader needs.
    """
    return Advice(
        name=subject.name,
        noise=noise.noise,
        steps=tuple(profile.steps),
        tests=tuple(noise.tests),
        every=_measuring_interval(noise, profile, subject.given_size or noise.batch_size),
        notes=(
            *_machine_notes(profile), *_warm_up_notes(warm_up), *_noise_notes(subject, noise),
            f"timed with {warm_up.optimizer.partition('(')[0]} steps; your model is unchanged",
            *_memory_notes(warm_up, noise),
        ),
        dataset_size=subject.dataset_size,
        warmup=len(warm_up.losses),
        losses=warm_up.ends,
        coupled=noise.coupled,
        seconds=seconds,
        device=device,
        doubts=tuple(profile.doubts),
    )  # fmt: skip


def _measuring_interval(noise: GradientSamples, profile: StepProfile, size: int) -> int | None:
    """Return the steps between measurements of this batch size that cost `OVERHEAD` of the time."""
    plain = [step.seconds for step in profile.steps if step.batch_size == size and step.seconds]
    if not plain or not noise.grams:
        return None
    return max(1, round((noise.seconds - plain[0]) / plain[0] / OVERHEAD))


def _machine_notes(profile: StepProfile) -> list[str]:
    if profile.slowdown <= BUSY:
        return []
    return [
        f"the machine was busy (wall time {profile.slowdown:.1f} × CPU time); seconds are CPU time, and "
        "fewer batches and sizes were measured"
    ]


def _warm_up_notes(warm_up: WarmUp) -> list[str]:
    steps = len(warm_up.losses)
    if warm_up.ends is None:
        return [
            "no warm-up: the noise scale of an untrained model is far too small (Merrill et al. 2025); use "
            "warmup=200 if this model has not been trained"
        ]
    notes = []
    first, last = warm_up.ends
    if last > STAGNANT * first:
        notes.append(
            f"the loss did not fall in {steps} warm-up steps ({first:.3g} → {last:.3g}), and the noise scale "
            "of a model that does not learn yet is a different one. Use the optimizer you train with and its "
            "learning rate (--optimizer, --lr) or a longer warmup; for a trained model, warmup=0"
        )
    if steps < warm_up.steps:
        notes.append(f"only {steps} of {warm_up.steps} warm-up steps fit the time limit; increase seconds")
    return notes


def _noise_notes(subject: Subject, noise: GradientSamples) -> list[str]:
    notes = []
    if subject.given_size is not None:
        notes.append("from one batch: the noise of its samples, not of the data set; pass data= for that")
    if noise.coupled:
        notes.append(
            "BatchNorm couples the samples of a batch: the noise scale is approximate, that of batches of "
            f"{noise.noise.samples // max(1, noise.noise.blocks)}"
        )
    if noise.problem:
        notes.append(
            "no per-sample gradients, so the noise scale is estimated from batches alone: "
            f"{noise.problem} (arguments of record_gram go in record=, in a factory "
            '"record": {"batch": 0})'
        )
    return notes


def _memory_notes(warm_up: WarmUp, noise: GradientSamples) -> list[str]:
    if not warm_up.reduced and not noise.reduced:
        return []
    return [
        f"memory ran out: the warm-up used batches of {warm_up.batch_size}, the noise scale batches of "
        f"{noise.batch_size}"
    ]
