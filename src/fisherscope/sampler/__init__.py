"""DynamicBatchSampler, the one place that applies a policy's decisions; and batches in parts."""

from fisherscope.sampler.dynamic_batch_sampler import DynamicBatchSampler, PlannedBatch
from fisherscope.sampler.micro_batch import micro_batches

__all__ = ["DynamicBatchSampler", "PlannedBatch", "micro_batches"]
