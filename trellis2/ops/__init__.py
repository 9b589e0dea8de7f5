"""Tensor operations with a plain reference and a fast backend behind one call."""
