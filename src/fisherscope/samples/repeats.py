"""Samples of several rows each: parts put one after the other, or rows side by side."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from fisherscope.samples.inputs import row_count

InputFunction = Callable[..., Tensor]
"""A function of the model's inputs that returns the sample of each row, (rows,) long."""


def concatenation(parts: int = 2) -> InputFunction:
    """Assign rows to samples whose rows come in parts: `torch.cat([chosen, rejected])`.

    Row k of each part is sample k.

    Args:
        parts: Parts of equal length, in rows: 2 for pairs (DPO), 3 for triplets.

    Returns:
        A function of the model's inputs, for `sample_of`.

    Raises:
        ValueError: On a call: the number of rows is not a multiple of `parts`.

    Source:
        Rafailov et al. 2023, Direct Preference Optimization: one loss term a pair.

    Example:
        ```python
        import torch
        import fisherscope as fs

        model = torch.nn.Linear(6, 1)
        chosen, rejected = torch.randn(2, 8, 6)
        with fs.record_gram(model, sample_of=fs.samples.concatenation(2)) as record:
            first, second = model(torch.cat([chosen, rejected])).chunk(2)
            (-torch.nn.functional.logsigmoid(first - second)).mean().backward()
        assert record.batch_size == 8
        ```
    """
    _check(parts, "concatenation(parts")
    return lambda *args, **kwargs: _per_part(row_count(args, kwargs), parts, "concatenation")


def groups(size: int) -> InputFunction:
    """Assign `size` consecutive rows to each sample.

    As of the completions of a prompt (GRPO), or of the views of an image.

    Args:
        size: Rows of a sample.

    Returns:
        A function of the model's inputs, for `sample_of`.

    Raises:
        ValueError: On a call: the number of rows is not a multiple of `size`.

    Example:
        ```python
        import torch
        import fisherscope as fs

        assert fs.samples.groups(2)(torch.randn(6, 3)).tolist() == [0, 0, 1, 1, 2, 2]
        ```
    """
    _check(size, "groups(size")

    def rows(*args: Any, **kwargs: Any) -> Tensor:
        samples = _divide(row_count(args, kwargs), size, "groups")
        return torch.arange(samples).repeat_interleave(size)

    return rows


def _per_part(rows: int, parts: int, name: str) -> Tensor:
    return torch.arange(_divide(rows, parts, name)).repeat(parts)


def _divide(rows: int, count: int, name: str) -> int:
    if rows % count:
        raise ValueError(f"samples.{name}({count}): the model received {rows} rows; expected a multiple")
    return rows // count


def _check(count: int, name: str) -> None:
    if not isinstance(count, int) or count < 1:
        raise ValueError(f"samples.{name}={count!r}): expected a whole number of 1 or more")
