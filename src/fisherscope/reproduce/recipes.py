"""The experiments of the paper as recipes, and smaller versions of them."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from fisherscope.sweep import Grid
from fisherscope.training import Configuration, ConfigurationError, paper_grid, paper_settings

RATE = 0.1
"""Initial learning rate of beacons and schedules."""
SCHEDULES = ("s32-to-512", "s512-to-32", "s16-to-64", "s32-to-128", "s16-to-256", "s64-to-256", "s128-to-512")
SEEDS = 5
FIGURES = ("1a", "1b", "1c", "1d", "2", "3", "4", "5", "6")
_IMAGES = {"mnist": (60_000, 10_000), "cifar10": (50_000, 10_000), "cifar100": (50_000, 10_000),
           "svhn": (604_388, 26_032)}  # fmt: skip
_NETWORKS = {"mnist": ("resnet8", "densenet8", "mlp"), "cifar10": ("resnet110", "densenet110"),
             "cifar100": ("resnet110", "densenet110"), "svhn": ("resnet110", "densenet110")}  # fmt: skip
_FEWEST_EPOCHS, _FEWEST_TEST = 4, 500
_BATCHES = 4
"""Batches that an epoch of a scaled recipe has at least; larger sizes are left out."""


@dataclass(frozen=True)
class Recipe:
    """Describe one experiment of the paper: grid, beacons and schedules of a task.

    Args:
        name: Name of the recipe, such as "mnist-mlp".
        task: Name of the task.
        batch_sizes: Fixed batch sizes of the grid.
        lrs: Learning rates of the grid.
        schedules: Policies, all at learning rate 0.1.
        seeds: Number of seeds.
        settings: Settings of every run.
        figures: Figures of the paper that are drawn.
        scale: Share of the full recipe's sample passes; 1 is the paper's experiment.
        changes: What a smaller version has in place of the paper's, in words.

    Example:
        ```python
        from fisherscope.reproduce import recipe

        mlp = recipe("mnist-mlp", scale=0.01)
        configurations = mlp.configurations()
        assert {one.task for one in configurations} == {"mnist/mlp"}
        assert mlp.passes() == sum(mlp.settings["limit_train"] * one.epochs for one in configurations)
        ```
    """

    name: str
    task: str
    batch_sizes: tuple[int, ...]
    lrs: tuple[float, ...]
    schedules: tuple[str, ...]
    seeds: int
    settings: dict[str, Any]
    figures: tuple[str, ...]
    scale: float = 1.0
    changes: tuple[str, ...] = field(default=())

    def configurations(self) -> list[Configuration]:
        """List the runs: the grid, in which the beacons are, and the schedules.

        Returns:
            Configurations of all seeds.
        """
        seeds = tuple(range(self.seeds))
        runs = Grid(self.task, self.batch_sizes, self.lrs, seeds, settings=self.settings).configurations()
        if not self.schedules:
            return runs
        dynamic = Grid(self.task, (), (RATE,), seeds, self.schedules, self.settings)
        return runs + dynamic.configurations()

    def passes(self) -> float:
        """Count the sample passes of all runs: images × epochs × runs.

        Returns:
            Their number.
        """
        images = self.settings.get("limit_train") or _IMAGES[self.task.partition("/")[0]][0]
        runs = len(self.batch_sizes) * len(self.lrs) + len(self.schedules)
        return float(images * self.settings["epochs"] * self.seeds * runs)

    def __str__(self) -> str:
        sizes, rates = self.batch_sizes, self.lrs
        images = self.settings.get("limit_train") or _IMAGES[self.task.partition("/")[0]][0]
        schedules = f", {len(self.schedules)} schedules" if self.schedules else ""
        return (
            f"{self.name}: {self.task}, |B| {sizes[0]} to {sizes[-1]} × α {rates[0]:g} to {rates[-1]:g}"
            f"{schedules}, {self.seeds} seed{'s' if self.seeds > 1 else ''}, {self.settings['epochs']} "
            f"epochs of {images} images"
        )


def recipe_names() -> list[str]:
    """List the recipes, smallest first.

    Returns:
        Names that `recipe` takes.

    Example:
        ```python
        from fisherscope.reproduce import recipe_names

        assert "mnist-mlp" in recipe_names()
        ```
    """
    return [f"{data}-{network}" for data, networks in _NETWORKS.items() for network in reversed(networks)]


def recipe(
    name: str, *, scale: float = 1.0, images: int | None = None, test_images: int | None = None
) -> Recipe:
    """Return a recipe of the paper, or a smaller version of it.

    A smaller version has the paper's settings and, as far as whole numbers allow, the cube root of `scale` of
    its seeds, of its epochs and of its images each. Batch sizes of which an epoch would have fewer than four
    are left out; rather than leave out all schedules, it has fewer epochs, of as many images as the smallest
    one needs.

    Source: Liao et al. 2020, section 4 (docs/paper.md).

    Args:
        name: One of `recipe_names()`.
        scale: Share of the full recipe's sample passes, above 0, at most 1.
        images: Training images that there are; by default as many as the paper has.
        test_images: Test images that there are.

    Returns:
        The recipe; its `scale` is the share that it has in fact.

    Raises:
        ConfigurationError: There is no such recipe, or `scale` is out of range.

    Example:
        ```python
        from fisherscope.reproduce import recipe

        assert len(recipe("cifar10-resnet110").configurations()) == (7 * 5 + 14) * 5
        assert recipe("mnist-mlp", scale=0.05).passes() / recipe("mnist-mlp").passes() < 0.06
        ```
    """
    if name not in recipe_names():
        near = difflib.get_close_matches(name.replace("/", "-"), recipe_names(), 3, 0.4)
        hint = f"did you mean {', '.join(near)}?" if near else f"expected one of {', '.join(recipe_names())}"
        raise ConfigurationError(f"reproducing {name!r}: there is no such recipe; {hint}")
    if not 0 < scale <= 1:
        raise ConfigurationError(
            f"reproducing {name} at scale {scale}: expected a share of its sample passes, above 0, at most 1"
        )
    full = _full(name)
    data = full.task.partition("/")[0]
    there = min(images or _IMAGES[data][0], _IMAGES[data][0])
    tested = min(test_images or _IMAGES[data][1], _IMAGES[data][1])
    return full if scale == 1 and there == _IMAGES[data][0] else _smaller(full, scale, there, tested)


def _full(name: str) -> Recipe:
    task = name.replace("-", "/", 1)
    grid = paper_grid(task)
    largest = max(grid["batch_sizes"])
    names = [s for s in SCHEDULES if max(_ends(s)) <= largest]
    schedules = (*names, *(f"{s}-MS" for s in names))
    figures = (*FIGURES[:5], "7", *FIGURES[6:]) if task.endswith("/mlp") else FIGURES
    return Recipe(
        name, task, tuple(grid["batch_sizes"]), tuple(grid["lrs"]), schedules, SEEDS,
        {**paper_settings(task), "threads": 1}, figures,
    )  # fmt: skip


def _ends(schedule: str) -> tuple[int, int]:
    """Return the first and last batch size of a schedule's name, such as `s32-to-512`."""
    first, last = schedule.removesuffix("-MS").removeprefix("s").split("-to-")
    return int(first), int(last)


def _smaller(full: Recipe, scale: float, there: int, tested: int) -> Recipe:
    """Reduce seeds, epochs and images; name what differs from the paper."""
    total = _IMAGES[full.task.partition("/")[0]][0]
    root = scale ** (1 / 3)
    seeds = max(1, round(full.seeds * root))
    epochs = min(full.settings["epochs"], max(_FEWEST_EPOCHS, round(full.settings["epochs"] * root)))
    share = scale * full.seeds * full.settings["epochs"] / (seeds * epochs)
    images = min(there, max(_BATCHES * min(full.batch_sizes), round(total * share)))
    for_schedules = _BATCHES * min(max(_ends(name)) for name in full.schedules)
    fewer = round(total * share * epochs / for_schedules)
    if images < for_schedules <= there and fewer >= _FEWEST_EPOCHS:
        epochs, images = fewer, for_schedules
    sizes = tuple(size for size in full.batch_sizes if _BATCHES * size <= images)
    schedules = tuple(name for name in full.schedules if max(_ends(name)) in sizes)
    test = min(tested, max(_FEWEST_TEST, round(tested * images / total)))
    settings = {**full.settings, "epochs": epochs, "limit_train": images, "limit_test": test}
    changes = [
        f"{seeds} of 5 seeds", f"{epochs} of {full.settings['epochs']} epochs",
        f"{images} of {total} training images", f"tested on {test} images",
    ]  # fmt: skip
    if there < total:
        changes.append(f"only {there} training images are here")
    if len(sizes) < len(full.batch_sizes):
        changes.append(f"without |B| above {sizes[-1]}, of which an epoch would have fewer than {_BATCHES}")
    small = Recipe(
        full.name, full.task, sizes, full.lrs, schedules, seeds, settings, full.figures, scale, tuple(changes)
    )
    return Recipe(**{**vars(small), "scale": small.passes() / full.passes()})


def describe_scale(made: Recipe) -> str:
    """Return what a page says about a recipe's length.

    Args:
        made: The recipe.

    Returns:
        A sentence.

    Example:
        ```python
        from fisherscope.reproduce import describe_scale, recipe

        assert describe_scale(recipe("mnist-mlp")) == "The paper's experiment at full length."
        assert describe_scale(recipe("mnist-mlp", scale=0.05)).startswith("A smaller version, ")
        ```
    """
    if made.scale == 1 and not made.changes:
        return "The paper's experiment at full length."
    changes = _join_texts(made.changes)
    return f"A smaller version, {_percent(made.scale)} of the paper's sample passes: {changes}."


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %"


def _join_texts(texts: Sequence[str]) -> str:
    return ", ".join(texts)
