"""Runs as settings, arrays and measures."""
