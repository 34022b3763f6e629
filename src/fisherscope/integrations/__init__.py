"""The integrations room of fisherscope."""
