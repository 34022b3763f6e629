"""Make each function that a training calls raise once, and compare the training with one without a monitor."""
