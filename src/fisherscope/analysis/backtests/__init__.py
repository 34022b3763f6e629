"""Selection methods replayed on recorded sweeps."""
