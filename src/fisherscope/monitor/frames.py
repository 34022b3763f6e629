"""What a monitor has seen, as polars frames."""

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl


def frame(rows: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    """A row each; a column that is null everywhere stays."""
    return pl.DataFrame(list(rows), infer_schema_length=None)


def outliers(samples: pl.DataFrame, count: int) -> pl.DataFrame:
    """The `count` samples of the largest gradients, and the `count` that pull most against their batch's."""
    if not len(samples):
        return samples
    large = samples.sort("relative_square_norm", descending=True).head(count)
    against = samples.filter(pl.col("cosine") < 0).sort("cosine").head(count)
    return pl.concat([large.with_columns(why=pl.lit("large")), against.with_columns(why=pl.lit("against"))])
