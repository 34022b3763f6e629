"""Built-in data sets: their files, readers and splits."""
