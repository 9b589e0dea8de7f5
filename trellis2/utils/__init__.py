"""Filled in by its modules."""
