"""Counts input tokens without asking the provider: by a shipped tokenizer, else by an estimate. See `count`."""
