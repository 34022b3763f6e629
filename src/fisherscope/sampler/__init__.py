"""DynamicBatchSampler, the one place that applies a policy's decisions; and batches in parts."""

from fisherscope.sampler.batches import Batch, DynamicBatchSampler
from fisherscope.sampler.splitting import micro_batches

__all__ = ["Batch", "DynamicBatchSampler", "micro_batches"]
