"""Batch-size advice: the noise scale and its interval."""
