"""Rows of a monitor as polars frames."""

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl


def frame(rows: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    """Build a frame with a row for each mapping; a column that is null everywhere stays.

    Args:
        rows: Plain values by column.

    Returns:
        Shape (rows, keys).
    """
    return pl.DataFrame(list(rows), infer_schema_length=None)


def outliers(samples: pl.DataFrame, count: int) -> pl.DataFrame:
    """Select samples with the largest gradients, and those that most oppose their batch.

    Args:
        samples: The frame `Monitor.samples`.
        count: Samples of each kind.

    Returns:
        At most 2·count rows, with a column `why`: "large" or "against".
    """
    if not len(samples):
        return samples
    large = samples.sort("relative_square_norm", descending=True).head(count)
    against = samples.filter(pl.col("cosine") < 0).sort("cosine").head(count)
    return pl.concat([large.with_columns(why=pl.lit("large")), against.with_columns(why=pl.lit("against"))])
