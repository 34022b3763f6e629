"""The paper's claims as statistical tests."""
