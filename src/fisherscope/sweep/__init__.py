"""The sweep room of fisherscope."""
