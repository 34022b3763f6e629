"""Several real processes: failures of one of them, and the bytes that an exchange sends."""
