"""A sweep as arrays: settings by seeds, grid coordinates, strata and neighbours."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fisherscope.analysis.data.run_measures import COND, ENERGY, at_epoch
from fisherscope.analysis.data.settings import FloatArray, Settings


@dataclass(frozen=True)
class SettingGrid:
    """The settings of a sweep with a constant batch size and a learning rate, and its seeds.

    Args:
        source: The runs of these settings.
        names: Settings, length n.
        batch_sizes: Shape (n,).
        lrs: Learning rates, shape (n,).
        seeds: Length s.
        x: The measure in place of C̄_K.
        y: The measure in place of L_K.
    """

    source: Settings
    names: tuple[str, ...]
    batch_sizes: FloatArray
    lrs: FloatArray
    seeds: tuple[int, ...]
    x: str = COND
    y: str = ENERGY

    @classmethod
    def of(
        cls, source: Settings, *, without_diverged: bool = True, x: str = COND, y: str = ENERGY
    ) -> "SettingGrid":
        """Make the grid of a sweep; optionally without settings of which a seed diverged."""
        fixed = source.fixed().where(pl.col("batch_size").is_not_null(), pl.col("lr").is_not_null())
        if without_diverged:
            diverged = diverged_settings(fixed)
            fixed = fixed.where(~pl.col("setting").is_in(diverged))
        rows = fixed.frame.select("setting", "batch_size", "lr").unique().sort("batch_size", "lr", "setting")
        return cls(
            fixed,
            tuple(rows["setting"].to_list()),
            rows["batch_size"].to_numpy().astype(np.float64),
            rows["lr"].to_numpy().astype(np.float64),
            tuple(sorted(set(fixed.frame["seed"].to_list()))),
            x,
            y,
        )

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def coordinates(self) -> FloatArray:
        """(log2 B, log2 α), shape (n, 2)."""
        return np.log2(np.column_stack([self.batch_sizes, self.lrs])).reshape(-1, 2)

    def values(self, name: str, epoch: int | None = None) -> FloatArray:
        """Return a measure by setting and seed, shape (n, s); NaN where it is missing."""
        return self.to_array(at_epoch(self.source, name, epoch))

    def logs(self, name: str, epoch: int | None = None) -> FloatArray:
        """Return log2 of a positive measure, shape (n, s)."""
        values = self.values(name, epoch)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(values > 0, np.log2(values), np.nan)

    def to_array(self, values: pl.DataFrame) -> FloatArray:
        """Arrange a frame of `run_id, value` by setting and seed, shape (n, s)."""
        rows = self.source.frame.join(values, on="run_id", how="inner")
        out = np.full((len(self.names), len(self.seeds)), np.nan)
        row = {name: k for k, name in enumerate(self.names)}
        column = {seed: k for k, seed in enumerate(self.seeds)}
        for setting, seed, value in rows.select("setting", "seed", "value").iter_rows():
            out[row[setting], column[seed]] = value
        return out

    def part(self, chosen: NDArray[np.bool_]) -> "SettingGrid":
        """Keep the chosen settings."""
        names = tuple(name for name, keep in zip(self.names, chosen, strict=True) if keep)
        source = self.source.where(pl.col("setting").is_in(names))
        return replace(
            self, source=source, names=names, batch_sizes=self.batch_sizes[chosen], lrs=self.lrs[chosen]
        )

    def strata(self, axis: str) -> list[NDArray[np.intp]]:
        """Group the settings that share the other coordinate, two or more.

        Args:
            axis: `batch`: same learning rate, batch sizes differ; `lr`: same batch size.

        Returns:
            Indices of the settings of each group.
        """
        fixed_coordinate = self.lrs if axis == "batch" else self.batch_sizes
        groups = [np.flatnonzero(fixed_coordinate == value) for value in np.unique(fixed_coordinate)]
        return [group for group in groups if len(group) > 1]

    def neighbours(self) -> Iterator[tuple[int, int]]:
        """Yield the pairs of settings next to each other along a grid line."""
        for axis, along in (("batch", self.batch_sizes), ("lr", self.lrs)):
            for group in self.strata(axis):
                order = group[np.argsort(along[group])]
                yield from zip(order[:-1].tolist(), order[1:].tolist(), strict=True)


def grid_text(grid: SettingGrid) -> str:
    """Describe the grid in words."""
    return (
        f"{len(grid)} settings, {len(np.unique(grid.batch_sizes))} batch sizes, {len(np.unique(grid.lrs))} "
        f"learning rates, {len(grid.seeds)} seeds"
    )


def diverged_settings(settings: Settings) -> list[str]:
    """Return the settings of which a run diverged."""
    return sorted(set(settings.frame.filter(pl.col("status") == "diverged")["setting"].to_list()))


def seed_mean(values: FloatArray) -> FloatArray:
    """Return the mean over seeds (last axis), missing ones left out; NaN if all are."""
    count = np.isfinite(values).sum(axis=-1)
    total = np.nansum(values, axis=-1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def seed_std(values: FloatArray) -> FloatArray:
    """Return the standard deviation over seeds with n − 1; NaN below two."""
    count = np.isfinite(values).sum(axis=-1)
    square = np.nansum((values - seed_mean(values)[..., None]) ** 2, axis=-1)
    return np.where(count > 1, np.sqrt(square / np.maximum(count - 1, 1)), np.nan)
