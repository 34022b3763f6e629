"""Say which sample each row belongs to, where rows of the model's inputs are not samples.

A value for `sample_of` of `record_gram`, `Monitor`, `advise`, `examine` and the callbacks: functions of the
model's inputs (`concatenation`, `groups`, `packing`, `graphs`), a function of the loader's batch
(`of_batch`), and tensors for loops of your own (`of_lengths`, `of_ends`, `of_position_ids`, …).
"""

from __future__ import annotations

from fisherscope.samples.graph_inputs import graphs, of_graph_batch
from fisherscope.samples.loader_batch import BatchSamples, copy_batch_functions, of_batch
from fisherscope.samples.repeats import concatenation, groups
from fisherscope.samples.sequences import (
    of_cu_seqlens,
    of_lengths,
    of_position_ids,
    of_sequence_mask,
    packing,
)
from fisherscope.samples.trajectories import of_ends

__all__ = [
    "BatchSamples",
    "concatenation",
    "copy_batch_functions",
    "graphs",
    "groups",
    "of_batch",
    "of_cu_seqlens",
    "of_ends",
    "of_graph_batch",
    "of_lengths",
    "of_position_ids",
    "of_sequence_mask",
    "packing",
]
