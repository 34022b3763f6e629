"""The cli room of fisherscope."""
