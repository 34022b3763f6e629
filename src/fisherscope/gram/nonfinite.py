"""Which samples of a batch have gradients that are NaN or infinite."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

MOST_NAMES = 8


def nonfinite_samples(gram: Tensor) -> list[int]:
    """Return the samples whose own entry of a Gram is not finite.

    Args:
        gram: Shape (n, n).

    Returns:
        Their numbers in batch order; none where only products of two samples overflow.

    Example:
        ```python
        from fisherscope.gram.nonfinite import nonfinite_samples

        assert nonfinite_samples(torch.diag(torch.tensor([1.0, float("nan"), 2.0]))) == [1]
        ```
    """
    return torch.nonzero(~torch.isfinite(gram.diagonal())).flatten().tolist()


def nonfinite_text(samples: Sequence[object], count: int) -> str:
    """Say which samples of a batch have gradients that are not finite.

    Args:
        samples: Their numbers or ids.
        count: Samples of the batch.

    Returns:
        A status that begins with `non-finite`.
    """
    if not samples:
        return "non-finite: products of the gradients overflow"
    if len(samples) == count:
        return f"non-finite: the gradients of all {count} samples hold NaN or infinity"
    names = ", ".join(map(str, samples[:MOST_NAMES]))
    more = f" and {len(samples) - MOST_NAMES} more" if len(samples) > MOST_NAMES else ""
    whose = "sample" if len(samples) == 1 else "samples"
    return f"non-finite: the gradients of {whose} {names}{more} (of {count}) hold NaN or infinity"
