"""Dataset adaptors, one module a subset; see `data_toolkit.adaptors` for what they have to define."""
