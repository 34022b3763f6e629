"""The runs room of fisherscope."""
