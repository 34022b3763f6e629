"""Steps whose gradient is far larger than usual, taken apart: which samples, micro-batches and layers."""
