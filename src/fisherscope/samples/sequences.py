"""Samples that are sequences packed into one row: by position ids, cumulative lengths, or a mask."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from fisherscope.samples.inputs import value_of

CUMULATIVE = ("cu_seq_lens_q", "cu_seqlens", "cu_seqlens_q", "cu_seq_lens")


def packing() -> Callable[..., Tensor]:
    """Assign positions to the sequences of a packed batch by what the model receives with it.

    In this order: `position_ids` that begin again at 0, `cu_seq_lens_q` (also `cu_seqlens`), `seq_idx`, an
    `attention_mask` that holds each sequence's number. Positions whose mask is 0 belong to no sample.
    As transformers' `DataCollatorWithFlattening` and TRL's packing make them.

    Returns:
        A function of the model's inputs, for `sample_of`.

    Raises:
        ValueError: On a call: none of them is among the inputs.

    Example:
        ```python
        import torch
        import fisherscope as fs

        positions = torch.tensor([[0, 1, 2, 0, 1]])
        rows = fs.samples.packing()(input_ids=torch.ones(1, 5), position_ids=positions)
        assert rows.tolist() == [[0, 0, 0, 1, 1]]
        ```
    """
    return _packed_rows


def _packed_rows(*args: Any, **kwargs: Any) -> Tensor:
    mask = value_of("attention_mask", args, kwargs)
    mask = mask if isinstance(mask, Tensor) and mask.dim() == 2 else None
    positions = value_of("position_ids", args, kwargs)
    if isinstance(positions, Tensor):
        return of_position_ids(positions, mask)
    for name in CUMULATIVE:
        lengths = value_of(name, args, kwargs)
        if isinstance(lengths, Tensor):
            return of_cu_seqlens(lengths)
    numbers = value_of("seq_idx", args, kwargs)
    if isinstance(numbers, Tensor):
        return of_sequence_mask(numbers + 1)
    if mask is not None:
        return of_sequence_mask(mask)
    names = ", ".join([*(str(k) for k in range(len(args))), *kwargs]) or "none"
    raise ValueError(
        f"samples.packing(): the model's inputs are {names}; expected position_ids, cu_seq_lens_q, seq_idx "
        "or an attention_mask by name"
    )


def of_position_ids(position_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
    """Assign positions to sequences by position ids that begin again at 0.

    Args:
        position_ids: (b, t) or (rows,) whole numbers.
        attention_mask: 0 where a position belongs to no sequence, same shape; None for no padding.

    Returns:
        The sample of each position in the same shape, -1 for padding.

    Example:
        ```python
        import torch
        import fisherscope as fs

        ids = torch.tensor([[0, 1, 2, 0, 1], [0, 1, 0, 0, 0]])
        mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0]])
        rows = fs.samples.of_position_ids(ids, mask)
        assert rows.tolist() == [[0, 0, 0, 1, 1], [2, 2, -1, -1, -1]]
        ```
    """
    real = torch.ones_like(position_ids, dtype=torch.bool) if attention_mask is None else attention_mask > 0
    starts = position_ids == 0
    starts[..., 0] = True
    return _numbers(starts, real.to(starts.device))


def of_cu_seqlens(cu_seqlens: Tensor) -> Tensor:
    """Assign rows to sequences by their cumulative lengths, as for variable-length attention.

    Args:
        cu_seqlens: (n + 1,) whole numbers from 0 to the number of rows.

    Returns:
        The sample of each row, (rows,).

    Raises:
        ValueError: It does not begin with 0, or falls.

    Example:
        ```python
        import torch
        import fisherscope as fs

        assert fs.samples.of_cu_seqlens(torch.tensor([0, 3, 5])).tolist() == [0, 0, 0, 1, 1]
        ```
    """
    if cu_seqlens.dim() != 1 or not len(cu_seqlens) or int(cu_seqlens[0]):
        raise ValueError(
            f"samples.of_cu_seqlens: received {cu_seqlens.tolist()}; expected cumulative lengths from 0, "
            "such as [0, 3, 5]"
        )
    return of_lengths(cu_seqlens.diff())


def of_lengths(lengths: Tensor | Sequence[int]) -> Tensor:
    """Assign rows to samples by how many consecutive rows each has.

    Args:
        lengths: (n,) whole numbers of 1 or more.

    Returns:
        The sample of each row, (rows,).

    Raises:
        ValueError: A length is below 1: each sample needs a row.

    Example:
        ```python
        import fisherscope as fs

        assert fs.samples.of_lengths([3, 1, 2]).tolist() == [0, 0, 0, 1, 2, 2]
        ```
    """
    counts = torch.as_tensor(lengths).detach().cpu().long()
    if counts.dim() != 1 or bool((counts < 1).any()):
        raise ValueError(
            f"samples.of_lengths: received {counts.tolist()}; expected 1 or more rows for each sample"
        )
    return torch.arange(len(counts)).repeat_interleave(counts)


def of_sequence_mask(attention_mask: Tensor) -> Tensor:
    """Assign positions to sequences by a mask of their numbers in a row, 0 for padding.

    Args:
        attention_mask: (b, t) whole numbers, such as [1, 1, 1, 2, 2, 0].

    Returns:
        The sample of each position, (b, t); -1 for padding.

    Example:
        ```python
        import torch
        import fisherscope as fs

        rows = fs.samples.of_sequence_mask(torch.tensor([[1, 1, 2, 0], [1, 2, 2, 2]]))
        assert rows.tolist() == [[0, 0, 1, -1], [2, 3, 3, 3]]
        ```
    """
    starts = torch.ones_like(attention_mask, dtype=torch.bool)
    starts[..., 1:] = attention_mask.diff(dim=-1) != 0
    return _numbers(starts, attention_mask > 0)


def _numbers(starts: Tensor, real: Tensor) -> Tensor:
    """Return the number of each run of real positions, from 0; -1 elsewhere."""
    numbers = (starts & real).flatten().cumsum(0).reshape(starts.shape) - 1
    return torch.where(real, numbers, -1)
