"""Learning rates of an optimizer whose parameter groups keep their ratios."""

from typing import TYPE_CHECKING

from fisherscope.sampler.step_scaling import write

if TYPE_CHECKING:
    from torch.optim import Optimizer


class LearningRateSetter:
    """Set an optimizer's learning rate; parameter groups keep their ratio to the first.

    Args:
        optimizer: The optimizer, with the learning rates whose ratios are kept.

    Raises:
        ValueError: The first group's learning rate is 0, so ratios are undefined.
    """

    def __init__(self, optimizer: "Optimizer") -> None:
        rates = [float(group["lr"]) for group in optimizer.param_groups]
        if rates[0] == 0:
            raise ValueError(
                "attaching an optimizer: its first parameter group has lr=0; give it a positive learning rate"
            )
        self._optimizer, self._ratios = optimizer, [rate / rates[0] for rate in rates]

    def set(self, lr: float) -> None:
        """Set the first group's learning rate to `lr`, and the others' in proportion.

        Raises:
            RuntimeError: The optimizer has another number of parameter groups than when it was attached.
        """
        groups = self._optimizer.param_groups
        if len(groups) != len(self._ratios):
            raise RuntimeError(
                f"setting the learning rate: the optimizer has {len(groups)} parameter groups, "
                f"{len(self._ratios)} when it was attached; attach it again after adding one"
            )
        for group, ratio in zip(groups, self._ratios, strict=True):
            write(group, lr * ratio)
