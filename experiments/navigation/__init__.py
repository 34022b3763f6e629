"""Back-test of navigating towards a reference, on the committed sweeps."""
