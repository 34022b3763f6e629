"""Table 1 and its formats."""
