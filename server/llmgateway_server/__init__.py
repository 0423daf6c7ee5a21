"""LLM Gateway: one typed gRPC contract in front of every LLM provider."""

__version__ = "0.1.0"
