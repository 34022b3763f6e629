"""Choose a setting: surrogate, successive halving, result."""
