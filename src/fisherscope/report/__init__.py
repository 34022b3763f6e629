"""The report room of fisherscope."""
