"""Which sample each row of a call belongs to: measured on the step's own graph by scaled cotangents."""
