"""Checks that the screen stage runs on what goes in and what comes out."""
