"""From output gradients to the Gram matrix: columns, products, checks."""
