"""The gram room of fisherscope."""
