"""The training room of fisherscope."""
