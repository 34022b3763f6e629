"""The tasks room of fisherscope."""
