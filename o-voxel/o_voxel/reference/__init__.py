"""Slow, obviously right versions in PyTorch and NumPy of the operations in this library; the oracle of the tests."""
