"""Which features of a reply each format plays. What a vendor cannot express is simply not in its answers."""

from __future__ import annotations

from llmgateway_server.testing.fake_provider.reply import Format

CHAT: Format = "openai_chat"
RESPONSES: Format = "openai_responses"
MESSAGES: Format = "anthropic_messages"
FORMATS: tuple[Format, ...] = (CHAT, RESPONSES, MESSAGES)

PLAYS: dict[str, dict[Format, str]] = {
    "text": {CHAT: "one content", RESPONSES: "contents of a message", MESSAGES: "blocks"},
    "citations of pages": {CHAT: "annotations", RESPONSES: "annotations", MESSAGES: "web_search_result_location"},
    "citations of documents": {MESSAGES: "char_location"},
    "logprobs": {CHAT: "if asked", RESPONSES: "if included"},
    "reasoning text": {RESPONSES: "a summary, if asked", MESSAGES: "thinking"},
    "reasoning signature": {RESPONSES: "encrypted_content, if included", MESSAGES: "signature"},
    "redacted reasoning": {RESPONSES: "encrypted_content, if included", MESSAGES: "redacted_thinking"},
    "tool calls": {CHAT: "after the text", RESPONSES: "in order", MESSAGES: "in order"},
    "refusal text": {CHAT: "refusal", RESPONSES: "refusal", MESSAGES: "stop_details, with its stop reason"},
    "web searches": {RESPONSES: "web_search_call", MESSAGES: "server_tool_use and its result"},
    "finish length": {CHAT: "length", RESPONSES: "incomplete", MESSAGES: "max_tokens"},
    "finish content_filter": {CHAT: "content_filter", RESPONSES: "incomplete", MESSAGES: "refusal"},
    "finish refusal": {MESSAGES: "refusal"},
    "finish stop_sequence": {MESSAGES: "stop_sequence"},
    "finish pause": {MESSAGES: "pause_turn"},
    "cache reads": {CHAT: "cached_tokens", RESPONSES: "cached_tokens", MESSAGES: "cache_read_input_tokens"},
    "cache writes": {CHAT: "one figure", RESPONSES: "one figure", MESSAGES: "by lifetime"},
    "reasoning tokens": {CHAT: "reasoning_tokens", RESPONSES: "reasoning_tokens", MESSAGES: "thinking_tokens"},
    "audio and prediction tokens": {CHAT: "details"},
    "service tier": {CHAT: "service_tier", RESPONSES: "service_tier", MESSAGES: "in usage"},
    "errors inside a stream": {CHAT: "an error object", RESPONSES: "three forms", MESSAGES: "event error"},
}
"""Feature → format → how; a format that is missing does not play it."""


def plays(feature: str, format: Format) -> bool:
    """Returns whether a format has words for a feature."""
    return format in PLAYS[feature]
