"""Save and restore what a model, an optimizer and random generators hold."""
