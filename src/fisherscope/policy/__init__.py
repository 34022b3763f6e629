"""The policy room of fisherscope."""
