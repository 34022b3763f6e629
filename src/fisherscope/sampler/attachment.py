"""What a sampler sets in an optimizer: the policy's rate, or the user's times the size's rule; betas."""

from typing import TYPE_CHECKING, Any, Literal, get_args

from fisherscope.guard import RefusedValue
from fisherscope.policy import Decision, Policy
from fisherscope.policy.beta_scaling import Beta2
from fisherscope.sampler.learning_rate import LearningRateSetter
from fisherscope.sampler.planned_batch import PlannedBatch
from fisherscope.sampler.sample_schedule import SampleSchedule
from fisherscope.sampler.step_scaling import StepScaling, require_betas
from fisherscope.sampler.validation import planned_decisions

if TYPE_CHECKING:
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler

RateOwner = Literal["policy", "keep", "couple"]
"""Who sets the learning rate: the policy, the user's scheduler, or that times the size's rule."""


class Attachment:
    """Apply a policy's decisions to an optimizer, and advance the user's scheduler by samples.

    Args:
        optimizer: The optimizer; a wrapper such as accelerate's is looked through.
        lr: Who sets the learning rate; None for "couple" where there is a scheduler, else "policy".
        scheduler: Scheduler to advance by samples; None for none, or one that the user steps.
        policy: The policy.
        length: Samples in an epoch.
        batch_size: Samples that a step of the scheduler stands for; None for the policy's first size.

    Raises:
        TypeError: The scheduler does not count batches.
        ValueError: The arguments contradict each other; the optimizer has no betas to change; the policy
            plans betas with √β₂ < β₁; with "policy", the first group's learning rate is 0.
    """

    def __init__(
        self,
        optimizer: "Optimizer",
        lr: RateOwner | None,
        scheduler: "LRScheduler | None",
        policy: Policy,
        length: int,
        batch_size: int | None = None,
    ) -> None:
        self.lr: RateOwner = lr or ("policy" if scheduler is None else "couple")
        _check(self.lr, scheduler, batch_size)
        inner = _inner(optimizer)
        self._policy = policy
        self._setter = LearningRateSetter(inner) if self.lr == "policy" else None
        self._scaling = StepScaling(inner)
        self.schedule: SampleSchedule | None = None
        if scheduler is not None:
            _, first = next(planned_decisions(policy, length))
            self.schedule = SampleSchedule(scheduler, batch_size or first.batch_size, length)
        if _changes_betas(policy):
            require_betas(inner)
            for _, decision in planned_decisions(policy, length):
                self._scaling.set(1.0, decision.beta1_power, decision.beta2_power)
        self._scaling.start()

    def detach(self) -> None:
        """Leave the optimizer as its user's code would have it."""
        self._scaling.stop()

    def apply(self, decision: Decision) -> None:
        """Set what the next step is made with.

        Args:
            decision: The decision for its batch.

        Raises:
            RuntimeError: The optimizer has another number of parameter groups than when it was attached.
            ValueError: The betas would let steps grow without bound.
        """
        gain = decision.gain if self.lr == "couple" else 1.0
        self._scaling.set(gain, decision.beta1_power, decision.beta2_power)
        if self._setter is not None:
            self._setter.set(decision.lr)

    def advance(self, done: PlannedBatch, coming: PlannedBatch) -> None:
        """Advance the scheduler, if there is one, from one batch to the next.

        Args:
            done: The batch that was trained.
            coming: The one that follows.

        Raises:
            RuntimeError: The scheduler was stepped elsewhere too.
        """
        if self.schedule is not None:
            self.schedule.advance(done, coming)

    def __str__(self) -> str:
        """Say in one line who sets the learning rate."""
        name, by = self._policy.name, ""
        if self.schedule is not None:
            kind, size = type(self.schedule.scheduler).__name__, self.schedule.batch_size
            by = f"; {kind} advances by samples, one step for each {size}"
        if self.lr == "policy":
            return f"{name}: the policy sets the learning rate"
        if self.lr == "keep":
            return f'{name}: the learning rate is the scheduler\'s (lr="keep"){by}'
        return f"{name}: the learning rate is the scheduler's times the size's rule (lr=\"couple\"){by}"


def _check(lr: str, scheduler: Any, batch_size: int | None) -> None:
    if lr not in get_args(RateOwner):
        raise RefusedValue(
            f"attaching an optimizer: lr={lr!r}; expected 'policy' (the policy sets the rate), 'keep' (your "
            "scheduler does) or 'couple' (your scheduler's rate times the size's rule)"
        )
    if scheduler is not None and lr == "policy":
        raise RefusedValue(
            "attaching an optimizer: lr='policy' and a scheduler would both set the learning rate; choose "
            "lr='couple' or lr='keep', or leave the scheduler out"
        )
    if batch_size is not None and (scheduler is None or batch_size < 1):
        raise RefusedValue(
            f"attaching an optimizer: scheduler_batch_size={batch_size!r}; expected at least 1 sample, for a "
            "scheduler that is given too"
        )


def _inner(optimizer: Any) -> Any:
    """Return the optimizer within wrappers such as accelerate's, whose step calls its step."""
    while hasattr(optimizer, "optimizer") and hasattr(optimizer.optimizer, "param_groups"):
        optimizer = optimizer.optimizer
    return optimizer


def _changes_betas(policy: Any) -> bool:
    while policy is not None:
        if isinstance(policy, Beta2):
            return True
        policy = getattr(policy, "policy", None)
    return False
