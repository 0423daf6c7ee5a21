"""The version of this distribution; pyproject.toml says the same."""

__version__ = "0.1.0"
USER_AGENT = f"llmgateway-python/{__version__}"
