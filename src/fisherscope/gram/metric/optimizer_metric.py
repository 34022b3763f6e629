"""The metric that a measurement is asked for, resolved to one P for each parameter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from fisherscope.gram.errors import GramError
from fisherscope.gram.interception.torch_private import version_of
from fisherscope.gram.metric.optimizers import FLOOR, NoStateError, known_function, number
from fisherscope.gram.metric.preconditioners import Preconditioner, ScalarPreconditioner


@dataclass(frozen=True)
class OptimizerMetric:
    """Ask `record_gram` for the Gram in an optimizer's metric, beside the Euclidean one.

    Args:
        optimizer: Whose P is taken, from its state as it stands before its step.
        form: "auto": a diagonal P is exact where per-sample gradients are formed anyway or the parameter is
            small, else in its rank-one form; "exact" or "rank-one": always so.
        check: Whether the error of rank-one forms is measured against the exact ones, at their cost.
        floor: Least √v̂ of a coordinate as share of the parameter's root mean v̂: where v̂ is about 0, a
            first gradient would outweigh all others.

    Raises:
        GramError: It is no optimizer, or an argument is outside its range.

    Example:
        ```python
        import torch

        import fisherscope as fs
        from fisherscope.gram import OptimizerMetric

        model = torch.nn.Linear(4, 3)
        optimizer = torch.optim.AdamW(model.parameters())
        for _ in range(2):
            x, y = torch.randn(8, 4), torch.randint(3, (8,))
            optimizer.zero_grad()
            with fs.record_gram(model, metric=OptimizerMetric(optimizer, form="exact")) as record:
                torch.nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()
        assert record.metric.gram.shape == record.gram.shape == (8, 8)
        ```
    """

    optimizer: torch.optim.Optimizer
    form: Literal["auto", "exact", "rank-one"] = "auto"
    check: bool = False
    floor: float = FLOOR

    def __post_init__(self) -> None:
        if not hasattr(self.optimizer, "param_groups") or not hasattr(self.optimizer, "state"):
            raise GramError(
                f"record_gram(model, metric=…): received {type(self.optimizer).__name__}; expected the torch "
                "optimizer that steps this model"
            )
        if self.form not in ("auto", "exact", "rank-one"):
            raise GramError(f"metric form {self.form!r}: expected 'auto', 'exact' or 'rank-one'")
        if not 0 <= self.floor < 1:
            raise GramError(f"metric floor {self.floor!r}: expected a share in [0, 1), such as 0.001")

    @property
    def name(self) -> str:
        """The optimizer's class; "Euclidean" in brackets where its P is not known."""
        kind = type(self.optimizer).__name__
        return kind if known_function(self.optimizer) is not None else f"{kind} (Euclidean)"


def metric_of(metric: Any) -> OptimizerMetric | None:
    """Return the metric that `record_gram` was given: an optimizer, an `OptimizerMetric`, or None.

    Raises:
        GramError: It is something else.
    """
    return metric if metric is None or isinstance(metric, OptimizerMetric) else OptimizerMetric(metric)


class Preconditioners:
    """Find each parameter's P in the optimizer's state, as it stands when the block begins.

    Args:
        metric: What was asked for.
        parameters: Measured parameters by name.
    """

    def __init__(self, metric: OptimizerMetric, parameters: Mapping[str, Tensor]) -> None:
        self.metric = metric
        self._function = known_function(metric.optimizer)
        rates = [number(group.get("lr", 1.0)) for group in metric.optimizer.param_groups]
        largest = max(rates, default=0.0)
        self._groups: dict[int, dict[str, Any]] = {
            id(p): {**group, "rate": rate / largest if largest > 0 else 1.0}
            for group, rate in zip(metric.optimizer.param_groups, rates, strict=True)
            for p in group["params"]
        }
        self._parameters = parameters
        self._steps = self._steps_made()

    def of(self, name: str) -> Preconditioner | None:
        """Return a parameter's P.

        Args:
            name: The parameter.

        Returns:
            Its P; None where the optimizer has it in no group, and so does not move it.

        Raises:
            NoStateError: The optimizer has made no step with it yet.
        """
        parameter = self._parameters[name]
        group = self._groups.get(id(parameter))
        if group is None:
            return None
        if self._function is None:
            return ScalarPreconditioner(1.0)
        state = self.metric.optimizer.state.get(parameter, {})
        try:
            return self._function(group, state, parameter, self.metric.floor)
        except KeyError as error:
            raise NoStateError(f"the optimizer holds no state of {name!r} yet ({error})") from error
        except NoStateError as error:
            raise NoStateError(f"{name!r}: {error}") from error

    def has_stepped(self) -> bool:
        """Return whether the optimizer has stepped since the block began: its state then holds the batch."""
        return self._steps_made() != self._steps

    def _steps_made(self) -> list[Any]:
        """Versions of the states' tensors, and steps: in-place changes show."""
        seen = []
        for parameter in self._parameters.values():
            state = self.metric.optimizer.state.get(parameter, {})
            seen.append([version_of(v) for v in state.values() if isinstance(v, Tensor)])
        return seen
