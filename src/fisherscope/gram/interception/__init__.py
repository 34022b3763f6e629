"""Which calls receive a parameter, and how their gradients are intercepted."""
