"""Connections to providers: one small port and its two implementations."""
