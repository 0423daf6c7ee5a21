"""Guarded egress: the only way to fetch an address that a caller named (docs/egress.md)."""
