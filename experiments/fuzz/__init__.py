"""Mutate runs, exports, configurations, beacon files and command lines, and give them to the real verbs."""
