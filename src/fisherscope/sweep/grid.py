"""A grid of configurations: what a sweep trains, as data."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import fisherscope as fs
from fisherscope.training import Configuration, ConfigurationError

SINGULAR = {"batch_size": "batch_sizes", "lr": "lrs", "seed": "seeds", "policy": "policies"}
AXES = tuple(SINGULAR.values())


@dataclass(frozen=True)
class Grid:
    """Every combination of batch sizes (and policies), learning rates and seeds of one task.

    Args:
        task: Name, as for `train`.
        batch_sizes: Fixed sizes.
        lrs: Learning rates of the first level.
        seeds: Of initialisation and order.
        policies: Besides the fixed sizes, each at every rate.
        settings: Any other key of a configuration, the same for all.
    """

    task: str
    batch_sizes: Sequence[int] = ()
    lrs: Sequence[float] = (0.1,)
    seeds: Sequence[int] = (0,)
    policies: Sequence[str] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, given: Grid | Mapping[str, Any]) -> Grid:
        """A grid from a mapping of its axes and of settings.

        Raises:
            ConfigurationError: An unknown key, one number where a grid takes a list, or no task.
            TaskError: There is no such built-in task.
        """
        if isinstance(given, Grid):
            return given
        known = [*AXES, *Configuration.model_fields]
        unknown = [key for key in given if key not in known]
        if unknown:
            near = difflib.get_close_matches(str(unknown[0]).replace("-", "_"), known, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"
            raise ConfigurationError(f"reading a grid: {unknown[0]!r} is unknown; {hint}")
        single = [name for name in SINGULAR if given.get(name) is not None]
        if single:
            name, axis = single[0], SINGULAR[single[0]]
            raise ConfigurationError(
                f"reading a grid: {name} is of one run; a grid takes a list, {axis}: [{given[name]}]"
            )
        if "task" not in given:
            raise ConfigurationError("reading a grid: it names no task, such as task: digits/resnet8")
        fs.tasks.check_name(str(given["task"]))
        axes = {name: tuple(_listed(given[name])) for name in AXES if name in given}
        rest = {key: value for key, value in given.items() if key not in (*AXES, "task")}
        return cls(str(given["task"]), settings=rest, **axes)

    def configurations(self) -> list[Configuration]:
        """Its runs, each once, those with most steps first: then no long one is left for the end.

        Raises:
            ConfigurationError: It is empty, or a value is out of range.
        """
        shapes: list[dict[str, Any]] = [{"batch_size": size} for size in self.batch_sizes]
        shapes += [{"policy": policy} for policy in self.policies]
        if not shapes or not self.lrs or not self.seeds:
            raise ConfigurationError(
                f"a grid of {len(shapes)} batch sizes and policies × {len(self.lrs)} rates × "
                f"{len(self.seeds)} seeds is empty; give at least one of each"
            )
        settings: dict[str, Any] = {"threads": 1, **self.settings}
        made = {
            config.id: config
            for shape, lr, seed in product(shapes, self.lrs, self.seeds)
            for config in [Configuration.of({**settings, "task": self.task, "lr": lr, "seed": seed, **shape})]
        }
        return sorted(made.values(), key=cost, reverse=True)


def cost(config: Configuration) -> float:
    """Roughly how long a run takes, in no unit: a step costs as much as some samples do."""
    return config.epochs * (1 + OVERHEAD_SAMPLES / config.batch_size)


OVERHEAD_SAMPLES = 24.0
"""Samples whose arithmetic takes as long as what a step costs whatever its size (small networks, CPU)."""


def pending(configurations: Sequence[Configuration], root: Path) -> list[Configuration]:
    """Those whose run has neither finished nor diverged."""

    def ended(config: Configuration) -> bool:
        try:
            return bool(fs.runs.has_ended(root / config.id))
        except fs.runs.RunError:  # the run itself reports what is wrong
            return False

    return [config for config in configurations if not ended(config)]


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]
