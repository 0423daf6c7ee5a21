"""The vendors: a table. One that speaks a known dialect is one row; a row says how it departs from the dialect.

`vendor` says what a row holds; the other modules hold the rows, one module for each family of dialects.
"""

from __future__ import annotations

from collections.abc import Mapping

from llmgateway_server.providers.vendors import amazon, anthropic, azure, cohere, google, ollama, openai, openai_alike
from llmgateway_server.providers.vendors.vendor import Vendor

SIMULATOR = "simulator"
"""The vendor that needs no network; see `providers.simulator`."""
ROWS = (
    *openai.ROWS,
    *anthropic.ROWS,
    *amazon.ROWS,
    *cohere.ROWS,
    *google.ROWS,
    *ollama.ROWS,
    *azure.ROWS,
    *openai_alike.ROWS,
)
VENDORS: Mapping[str, Vendor] = {row.name: row for row in ROWS}

__all__ = ["SIMULATOR", "VENDORS", "Vendor"]
