"""The figures room of fisherscope."""
