"""Measure the package's source, and how often somebody who reads it turns back."""
