"""What the paper published: best settings and Table 1, test error in per cent."""

from __future__ import annotations

from dataclasses import dataclass

KINDS = ("s#", "-∅", "-MS")


@dataclass(frozen=True)
class PublishedResult:
    """Hold one published result.

    Args:
        task: Name of the task here.
        what: "best of the grid", or the kind of Table 1: "s#", "-∅", "-MS".
        setting: Its setting, named as here.
        error: Mean test error, per cent.
        std: Standard deviation over five seeds, per cent.
        hours: Hours on one GPU of the time; None where the paper gives none.

    Example: see `paper_results`.
    """

    task: str
    what: str
    setting: str
    error: float
    std: float
    hours: float | None = None


_BEST = {
    "cifar10/resnet110": ("s32-lr0.05", 4.67, 0.22), "cifar10/densenet110": ("s16-lr0.025", 4.82, 0.07),
    "cifar100/resnet110": ("s16-lr0.05", 23.39, 0.13), "cifar100/densenet110": ("s8-lr0.025", 22.90, 0.47),
    "svhn/resnet110": ("s16-lr0.025", 1.86, 0.03), "svhn/densenet110": ("s32-lr0.025", 1.89, 0.01),
    "mnist/resnet8": ("s16-lr0.1", 0.36, 0.02), "mnist/densenet8": ("s32-lr0.4", 0.54, 0.02),
}  # fmt: skip
_TABLE = {
    "cifar10/resnet110": [
        ("s32", 4.78, 0.05, 7.7), ("s32-to-128", 4.90, 0.05, 7.0), ("s32-to-128-MS", 4.76, 0.13, 7.1),
    ],
    "cifar100/resnet110": [
        ("s32", 23.46, 0.21, 7.9), ("s32-to-128", 23.90, 0.31, 7.1), ("s32-to-128-MS", 23.69, 0.34, 7.1),
    ],
    "svhn/resnet110": [
        ("s128", 1.93, 0.04, 9.5), ("s128-to-512", 1.91, 0.01, 8.9), ("s32-to-512-MS", 1.90, 0.04, 9.4),
    ],
    "mnist/resnet8": [
        ("s16", 0.36, 0.02, 0.14), ("s16-to-64", 0.39, 0.02, 0.11), ("s16-to-64-MS", 0.34, 0.02, 0.11),
    ],
    "cifar10/densenet110": [
        ("s32", 4.96, 0.12, 16.1), ("s64-to-256", 5.03, 0.03, 14.1), ("s32-to-128-MS", 4.63, 0.10, 15.4),
    ],
    "cifar100/densenet110": [
        ("s32", 23.26, 0.12, 16.1), ("s32-to-128", 23.68, 0.02, 14.7), ("s32-to-128-MS", 23.92, 0.11, 14.8),
    ],
    "svhn/densenet110": [
        ("s128", 1.93, 0.09, 21.9), ("s64-to-256", 2.00, 0.06, 20.4), ("s64-to-256-MS", 2.03, 0.02, 20.5),
    ],
    "mnist/densenet8": [
        ("s8", 0.61, 0.06, 0.26), ("s32-to-128", 0.57, 0.03, 0.06), ("s16-to-64-MS", 0.60, 0.01, 0.10),
    ],
}  # fmt: skip


def paper_results(task: str) -> list[PublishedResult]:
    """List what the paper published of a task.

    Source: Liao et al. 2020, figure 3 and Table 1.

    Args:
        task: Name of the task.

    Returns:
        The best of the grid, then the row of each kind in Table 1 (learning rate 0.1); nothing for the MLP,
        of which the paper shows a figure alone.

    Example:
        ```python
        from fisherscope.reproduce import paper_results

        assert paper_results("mnist/resnet8")[0].error == 0.36
        ```
    """
    best = [PublishedResult(task, "best of the grid", *_BEST[task])] if task in _BEST else []
    rows = zip(KINDS, _TABLE.get(task, []), strict=False)
    return best + [PublishedResult(task, kind, f"{name}-lr0.1", *numbers) for kind, (name, *numbers) in rows]
