"""The analysis room of fisherscope."""
