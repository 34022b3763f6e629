"""Hypothesis tests, resampling and regression on plain arrays."""
