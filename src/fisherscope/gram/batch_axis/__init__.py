"""Which dimension of each tensor carries the samples: probed once, cached."""
