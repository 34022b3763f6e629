"""Read the built-in data sets: files, formats and splits."""
