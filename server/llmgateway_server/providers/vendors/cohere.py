"""Cohere."""

from __future__ import annotations

from llmgateway_server.providers.dialects.cohere_chat import CohereChat
from llmgateway_server.providers.vendors.vendor import Vendor

ROWS = (
    Vendor(
        name="cohere",
        dialects=(CohereChat(),),
        base_url="https://api.cohere.com",
        key_variable="CO_API_KEY",
        check_path="/v1/models?page_size=1",  # https://docs.cohere.com/reference/list-models
    ),
)
