"""Inputs that show several sequences packed into one row, which were counted as one sample."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from fisherscope.samples.inputs import value_of
from fisherscope.samples.sequences import CUMULATIVE


def packing_doubt(args: tuple[Any, ...], kwargs: dict[str, Any], samples: int) -> str:
    """Say that the model's inputs hold more sequences than were counted as samples.

    Args:
        args: Positional inputs.
        kwargs: Inputs by name.
        samples: The samples that were counted.

    Returns:
        A sentence with both readings; "" where nothing shows more.
    """
    if not kwargs and all(type(value) is Tensor for value in args):
        return ""  # without names
    for name, count in _sequences(args, kwargs).items():
        if count > samples:
            return (
                f"{name} shows {count} packed sequences, and {samples} rows were counted as samples; if each "
                f"sequence is a sample, say sample_of=fs.samples.packing(): the batch then has {count}"
            )
    return ""


def _sequences(args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, int]:
    """Count the sequences that each input of a known name shows, where it shows several in a row."""
    found: dict[str, int] = {}
    positions = value_of("position_ids", args, kwargs)
    if isinstance(positions, Tensor) and positions.dim() == 2 and positions.shape[1] > 1:
        starts = (positions[:, :-1] == 0) & (positions[:, 1:] == 1)  # a lone 0 may be padding
        count = starts.sum(1)
        if int(count.max()) > 1:
            found["position_ids"] = int(count.clamp_min(1).sum())
    for name in CUMULATIVE:
        lengths = value_of(name, args, kwargs)
        if isinstance(lengths, Tensor) and lengths.dim() == 1:
            found[name] = len(lengths) - 1
    numbers = value_of("seq_idx", args, kwargs)
    if isinstance(numbers, Tensor) and numbers.dim() == 2 and not numbers.is_floating_point():
        found["seq_idx"] = int((numbers.amax(1) + 1).sum())
    mask = value_of("attention_mask", args, kwargs)
    if isinstance(mask, Tensor) and mask.dim() == 2 and not mask.is_floating_point() and mask.numel():
        largest = mask.long().amax(1)
        if int(largest.max()) > 1:
            found["attention_mask"] = int(largest.sum())
    return found
