"""Which vendor's accounts speak each format of the fake provider."""

from __future__ import annotations

from llmgateway_server.testing.fake_provider import Format

VENDOR_OF: dict[Format, str] = {
    "openai_chat": "openai",
    "openai_responses": "openai",
    "anthropic_messages": "anthropic",
    "bedrock_converse": "bedrock",
    "bedrock_llama": "bedrock",
    "ollama_chat": "ollama",
    "cohere_chat": "cohere",
    "gemini": "google",
}
