"""OpenAI, and who speaks its chat completions."""

from __future__ import annotations

from llmgateway_server.providers.dialects.dialect import Quirks
from llmgateway_server.providers.dialects.openai_chat import OpenAiChat
from llmgateway_server.providers.dialects.openai_responses import OpenAiResponses
from llmgateway_server.providers.vendors.vendor import Vendor

CHAT, RESPONSES = OpenAiChat(), OpenAiResponses()

ROWS = (
    Vendor(
        name="openai",
        dialects=(CHAT, RESPONSES),
        base_url="https://api.openai.com/v1",
        key_variable="OPENAI_API_KEY",
        quirks=Quirks(end_user_field="safety_identifier"),
        counting_dialect=OpenAiResponses.name,
        check_path="/models",  # https://platform.openai.com/docs/api-reference/models/list
    ),
    Vendor(
        name="openai-compatible",
        dialects=(CHAT, RESPONSES),
        base_url="",
        quirks=Quirks(max_tokens_field="max_tokens", developer_role=False, unknown_options=frozenset()),
        check_path="/models",
    ),
)
