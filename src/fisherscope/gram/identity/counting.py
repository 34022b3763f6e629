"""What rows were counted as samples where another reading is possible: a sentence with both."""

from __future__ import annotations

from collections.abc import Sequence


def counting_doubt(groups: Sequence[tuple[int, ...]], samples: Sequence[int], guessed: int) -> str:
    """Say that rows may be counted as the wrong samples.

    Args:
        groups: Rows of the step's forwards, in turn, that share a term of the loss.
        samples: The sample that each row was counted as.
        guessed: How many forwards of separate tensors were taken for the same samples; 0 for none.

    Returns:
        A sentence with both readings; "" where the loss agrees with the count.
    """
    apart = [group for group in groups if len({samples[row] for row in group}) > 1]
    count = len(set(samples))
    if apart:
        return _shared_text(apart, count)
    joined = {row for group in groups for row in group}
    if guessed and len(joined) < len(samples):
        return (
            f"{guessed} forwards of the model took separate tensors of the same length in one backward pass, "
            "and no term of the loss joins their rows; they are taken for the same samples (as of two views "
            f"of a batch), {count}. If they are other samples, the batch has {len(samples)}: say "
            f"batch_size={len(samples)} (observe(batch_size=…)), give the parts as slices of one tensor, or "
            "say sample_of=…"
        )
    return ""


def _shared_text(groups: Sequence[tuple[int, ...]], count: int) -> str:
    size, shown = len(groups[0]), " and ".join(map(str, groups[0]))
    more = f", {' and '.join(map(str, groups[1]))}" if len(groups) > 1 else ""
    terms = count - sum(len(group) - 1 for group in groups)
    return (
        f"{count} rows count as samples and share {terms} terms of the loss (rows {shown}{more}, …); if "
        f"such rows are one sample, say sample_of={_remedy(groups, size, count)}: the batch then has {terms}"
    )


def _remedy(groups: Sequence[tuple[int, ...]], size: int, count: int) -> str:
    """Name what describes the groups."""
    step = len(groups)
    if len(groups) * size == count:
        if all(group == tuple(k + step * part for part in range(size)) for k, group in enumerate(groups)):
            return f"fs.samples.concatenation({size})"
        if all(group == tuple(range(size * k, size * (k + 1))) for k, group in enumerate(groups)):
            return f"fs.samples.groups({size})"
    return "…, the sample of each row"
