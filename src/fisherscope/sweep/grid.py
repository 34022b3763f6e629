"""Describe a grid of configurations: what a sweep trains, as data."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import fisherscope as fs
from fisherscope.plain_text import short_repr
from fisherscope.training import Configuration, ConfigurationError

SINGULAR = {"batch_size": "batch_sizes", "lr": "lrs", "seed": "seeds", "policy": "policies"}
AXES = tuple(SINGULAR.values())


@dataclass(frozen=True)
class Grid:
    """Combine batch sizes (and policies), learning rates and seeds of one task.

    Args:
        task: Name of the task, as for `fs.tasks.get`.
        batch_sizes: Fixed batch sizes.
        lrs: Initial learning rates.
        seeds: Random seeds.
        policies: Names of policies, in addition to the fixed sizes.
        settings: Other values of a configuration, the same for all runs.

    Example:
        ```python
        from fisherscope.sweep import Grid

        assert len(Grid("digits/mlp", (16, 64), (0.05, 0.2), seeds=(0, 1)).configurations()) == 8
        assert Grid.of({"task": "digits/mlp", "batch_sizes": [16], "epochs": 2}).settings == {"epochs": 2}
        ```
    """

    task: str
    batch_sizes: Sequence[int] = ()
    lrs: Sequence[float] = (0.1,)
    seeds: Sequence[int] = (0,)
    policies: Sequence[str] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, values: Grid | Mapping[str, Any]) -> Grid:
        """Make a grid of a mapping of its axes and settings.

        Args:
            values: Values by key; a grid is returned as it is.

        Returns:
            The grid.

        Raises:
            ConfigurationError: A key is unknown, an axis has the name of a single value, or there is no task.
            TaskError: There is no built-in task of this name.
        """
        if isinstance(values, Grid):
            return values
        keys = [*AXES, *Configuration.model_fields]
        unknown = [key for key in values if key not in keys]
        if unknown:
            near = difflib.get_close_matches(str(unknown[0])[:80].replace("-", "_"), keys, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(keys)}"
            raise ConfigurationError(f"reading a grid: {short_repr(unknown[0])} is unknown; {hint}")
        single = [name for name in SINGULAR if values.get(name) is not None]
        if single:
            name, axis = single[0], SINGULAR[single[0]]
            raise ConfigurationError(
                f"reading a grid: {name} belongs to one run; a grid takes a list, {axis}: "
                f"[{short_repr(values[name])}]"
            )
        if "task" not in values:
            raise ConfigurationError(
                "reading a grid: it names no task; give one, such as task: digits/resnet8"
            )
        fs.tasks.check_name(str(values["task"]))
        axes = {name: tuple(_as_list(values[name])) for name in AXES if name in values}
        settings = {key: value for key, value in values.items() if key not in (*AXES, "task")}
        return cls(str(values["task"]), settings=settings, **axes)

    def configurations(self) -> list[Configuration]:
        """List the configurations, longest runs first, so that none is left for the end.

        Returns:
            Each configuration once.

        Raises:
            ConfigurationError: The grid is empty, or a value is out of range.
        """
        shapes: list[dict[str, Any]] = [{"batch_size": size} for size in self.batch_sizes]
        shapes += [{"policy": policy} for policy in self.policies]
        if not shapes or not self.lrs or not self.seeds:
            raise ConfigurationError(
                f"a grid of {len(shapes)} batch sizes and policies × {len(self.lrs)} learning rates × "
                f"{len(self.seeds)} seeds is empty; give at least one of each"
            )
        settings: dict[str, Any] = {"threads": 1, **self.settings}
        configurations = {
            config.id: config
            for shape, lr, seed in product(shapes, self.lrs, self.seeds)
            for config in [Configuration.of({**settings, "task": self.task, "lr": lr, "seed": seed, **shape})]
        }
        return sorted(configurations.values(), key=cost, reverse=True)


def cost(config: Configuration) -> float:
    """Estimate how long a run takes, in arbitrary units, to order runs and weight progress.

    Args:
        config: The run's configuration.

    Returns:
        Epochs times 1 + 24 / batch size: a step costs as much as 24 samples.

    Example:
        ```python
        from fisherscope.sweep import cost
        from fisherscope.training import Configuration

        small, large = (Configuration.of({"task": "digits/mlp", "batch_size": size}) for size in (8, 64))
        assert cost(small) > cost(large)
        ```
    """
    return config.epochs * (1 + OVERHEAD_SAMPLES / config.batch_size)


OVERHEAD_SAMPLES = 24.0
"""Samples whose arithmetic takes as long as the fixed cost of a step (small networks, CPU)."""


def pending(configurations: Sequence[Configuration], root: Path) -> list[Configuration]:
    """List the configurations whose run has neither finished nor diverged.

    Args:
        configurations: Configurations, in any order.
        root: Directory of the runs.

    Returns:
        Those that are left to train, in the same order.

    Example:
        ```python
        from pathlib import Path

        from fisherscope.sweep import Grid, pending

        configurations = Grid("digits/mlp", (16, 64)).configurations()
        assert pending(configurations, Path("runs/absent")) == configurations
        ```
    """

    def has_ended(config: Configuration) -> bool:
        try:
            return bool(fs.runs.has_ended(config.path_in(root)))
        except fs.runs.RunError:  # the run itself reports what is wrong
            return False

    changed = {config.id for config in changed_runs(configurations, root)}
    return [config for config in configurations if config.id in changed or not has_ended(config)]


def changed_runs(configurations: Sequence[Configuration], root: Path) -> list[Configuration]:
    """List the configurations whose run was trained by an earlier version of the task's file.

    Args:
        configurations: Configurations, in any order.
        root: Directory of the runs.

    Returns:
        Those whose run.json names another digest of the file than the present one.

    Example:
        ```python
        from pathlib import Path

        from fisherscope.sweep import Grid, changed_runs

        assert not changed_runs(Grid("digits/mlp", (16, 64)).configurations(), Path("runs/absent"))
        ```
    """
    digests = {task: fs.tasks.file_digest(task) for task in {config.task for config in configurations}}

    def has_changed(config: Configuration) -> bool:
        if digests[config.task] is None or not fs.runs.is_run(config.path_in(root)):
            return False
        try:
            computes = fs.runs.run_head(config.path_in(root)).get("computes")
        except (fs.runs.RunError, FileNotFoundError):
            return False
        earlier = computes.get("file") if isinstance(computes, dict) else None
        return earlier is not None and earlier != digests[config.task]

    return [config for config in configurations if has_changed(config)]


def _as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]
