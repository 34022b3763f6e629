"""Several processes that train together: one measurement of their batches as one."""
