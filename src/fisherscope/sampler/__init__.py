"""DynamicBatchSampler, the one place that applies a policy's decisions; micro-batches."""

from fisherscope.sampler.attachment import RateOwner
from fisherscope.sampler.dynamic_batch_sampler import DynamicBatchSampler
from fisherscope.sampler.micro_batch import micro_batches
from fisherscope.sampler.planned_batch import PlannedBatch

__all__ = ["DynamicBatchSampler", "PlannedBatch", "RateOwner", "micro_batches"]
