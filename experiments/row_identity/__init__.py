"""Models drawn at random that move their samples' rows about: is the Gram right, refused, or wrong?"""
