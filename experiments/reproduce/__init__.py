"""The paper's recipes as they were run: results, and the tables of docs/reproduce.md."""
