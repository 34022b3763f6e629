"""Learning rates and betas that are others in an optimizer's step than outside it."""

import math
from typing import TYPE_CHECKING, Any

from fisherscope.guard import RefusedValue

if TYPE_CHECKING:
    from torch.optim import Optimizer


class StepScaling:
    """Multiply learning rates and raise betas to powers while an optimizer steps.

    Outside `optimizer.step()` its parameter groups hold what the user's schedulers wrote, so that every
    scheduler, those too that compute a value from the one before, goes on as if nothing else were there, and
    checkpoints contain nothing of ours. Factors of 1 change no bit.

    Args:
        optimizer: A torch optimizer.

    Cost: two hooks a step, some microseconds.
    """

    def __init__(self, optimizer: "Optimizer") -> None:
        self._optimizer = optimizer
        self.gain, self._powers = 1.0, (1.0, 1.0)
        self._kept: list[dict[str, tuple[Any, Any]]] = []  # what stood in each group, and what stands there
        self._hooks: list[Any] = []

    def start(self) -> None:
        """Act from the next step on."""
        self._hooks = [
            self._optimizer.register_step_pre_hook(self._change),
            self._optimizer.register_step_post_hook(self._restore),
        ]

    def stop(self) -> None:
        """Remove the hooks, and what a step that raised left behind."""
        for hook in self._hooks:
            hook.remove()
        self._hooks = []
        self._restore()
        vars(self._optimizer).pop("fisherscope_gain", None)

    def set(self, gain: float, beta1_power: float, beta2_power: float) -> None:
        """Set the factors of the next steps.

        Args:
            gain: Factor of the learning rate of every group.
            beta1_power: Power of the first beta.
            beta2_power: Power of the second.

        Raises:
            ValueError: The betas would let steps grow without bound.
        """
        if (beta1_power, beta2_power) != (1.0, 1.0):
            for group in self._optimizer.param_groups:
                check_betas(self._optimizer, group["betas"], beta1_power, beta2_power)
        self.gain, self._powers = gain, (beta1_power, beta2_power)
        self._optimizer.fisherscope_gain = gain  # type: ignore[attr-defined]  # the monitor's rows read it

    def _change(self, *_: Any) -> None:
        self._restore()  # a step that raised did not
        for group in self._optimizer.param_groups:
            changed: dict[str, tuple[Any, Any]] = {}
            if self.gain != 1.0:
                before = float(group["lr"])
                changed["lr"] = (before, write(group, before * self.gain))
            if self._powers != (1.0, 1.0):
                before, after = group["betas"], raise_betas(group["betas"], *self._powers)
                group["betas"] = after
                changed["betas"] = (before, after)
            self._kept.append(changed)

    def _restore(self, *_: Any) -> None:
        kept, self._kept = self._kept, []
        for group, changed in zip(self._optimizer.param_groups, kept, strict=False):
            for key, (before, after) in changed.items():
                if key == "lr" and float(group["lr"]) == after:
                    write(group, before)
                elif key == "betas" and group["betas"] is after:
                    group["betas"] = before


def write(group: dict[str, Any], lr: float) -> float:
    """Set a parameter group's learning rate, in place where a capturable optimizer keeps it in a tensor.

    Returns:
        The rate as the group holds it.
    """
    if hasattr(group["lr"], "fill_"):
        group["lr"].fill_(lr)
    else:
        group["lr"] = lr
    return float(group["lr"])


def raise_betas(betas: Any, beta1_power: float, beta2_power: float) -> tuple[Any, ...]:
    """Raise the first two betas to powers; a third (as of AdEMAMix) stays."""
    return (betas[0] ** beta1_power, betas[1] ** beta2_power, *betas[2:])


def require_betas(optimizer: "Optimizer") -> None:
    """Refuse an optimizer with a parameter group that has no betas.

    Raises:
        ValueError: It is such.
    """
    for group in optimizer.param_groups:
        if not isinstance(group.get("betas"), tuple | list) or len(group["betas"]) < 2:
            raise RefusedValue(
                f"attaching {type(optimizer).__name__}: the policy changes betas (+beta2, +betas), and this "
                f"optimizer has none; its groups hold {', '.join(sorted(set(group) - {'params'}))}. Leave "
                "the wrapper out, or use an optimizer such as AdamW"
            )


def check_betas(optimizer: "Optimizer", betas: Any, beta1_power: float, beta2_power: float) -> None:
    """Refuse powers of betas under which √β₂ < β₁.

    Raises:
        ValueError: It is so.
    """
    one, two = (float(beta) for beta in raise_betas(betas, beta1_power, beta2_power)[:2])
    if math.sqrt(two) < one:
        raise RefusedValue(
            f"changing the betas of {type(optimizer).__name__} from {tuple(betas)} to ({one:.6g}, "
            f"{two:.6g}): √β₂ = {math.sqrt(two):.4g} would be below β₁ = {one:.4g}, where single steps grow "
            "without bound and training diverges; use +betas (both), a smaller largest size, or leave it out"
        )
