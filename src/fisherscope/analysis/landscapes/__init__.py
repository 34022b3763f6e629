"""The (C, L) plane and the surface over it."""
