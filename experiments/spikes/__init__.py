"""Is the planted cause of a spike named first?"""
