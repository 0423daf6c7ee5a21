"""The Python client of LLM Gateway; the generated stubs are in `llmgateway.v1`."""

__version__ = "0.1.0"
