"""The Gram in an optimizer's own metric: F̃_P = Jᵀ P⁻¹ J, P from the optimizer's state before its step."""
