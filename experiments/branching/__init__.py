"""Is the critical batch size that `fisherscope branch` measures right?"""
