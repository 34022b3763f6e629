"""From a run to a reference in the (C, L) plane: which way to move batch size and learning rate."""
