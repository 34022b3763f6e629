"""Make each function that a training calls raise once, and compare it with a training without a monitor."""
