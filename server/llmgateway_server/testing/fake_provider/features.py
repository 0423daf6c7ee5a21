"""Which features of a reply each format plays. What a vendor cannot express is simply not in its answers."""

from __future__ import annotations

from llmgateway_server.testing.fake_provider.reply import Format

CHAT: Format = "openai_chat"
RESPONSES: Format = "openai_responses"
MESSAGES: Format = "anthropic_messages"
CONVERSE: Format = "bedrock_converse"
LLAMA: Format = "bedrock_llama"
OLLAMA: Format = "ollama_chat"
COHERE: Format = "cohere_chat"
GEMINI: Format = "gemini"
FORMATS: tuple[Format, ...] = (CHAT, RESPONSES, MESSAGES, CONVERSE, LLAMA, OLLAMA, COHERE, GEMINI)

PLAYS: dict[str, dict[Format, str]] = {
    "text": {
        CHAT: "one content",
        RESPONSES: "contents of a message",
        MESSAGES: "blocks",
        CONVERSE: "blocks",
        LLAMA: "one generation",
        OLLAMA: "one content",
        COHERE: "content blocks",
        GEMINI: "text parts",
    },
    "citations of pages": {
        CHAT: "annotations",
        RESPONSES: "annotations",
        MESSAGES: "web_search_result_location",
        CONVERSE: "web",
        COHERE: "a document with a url",
        GEMINI: "groundingMetadata",
    },
    "citations of documents": {MESSAGES: "char_location", CONVERSE: "documentChar", COHERE: "a document"},
    "logprobs": {CHAT: "if asked", RESPONSES: "if included", OLLAMA: "if asked", GEMINI: "if asked"},
    "reasoning text": {
        RESPONSES: "a summary, if asked",
        MESSAGES: "thinking",
        CONVERSE: "reasoningText",
        OLLAMA: "thinking",
        COHERE: "thinking, tool_plan",
        GEMINI: "thoughts, if asked",
    },
    "reasoning signature": {
        RESPONSES: "encrypted_content, if included",
        MESSAGES: "signature",
        CONVERSE: "signature",
        GEMINI: "thoughtSignature",
    },
    "redacted reasoning": {
        RESPONSES: "encrypted_content, if included",
        MESSAGES: "redacted_thinking",
        CONVERSE: "redactedContent",
    },
    "tool calls": {
        CHAT: "after the text",
        RESPONSES: "in order",
        MESSAGES: "in order",
        CONVERSE: "in order",
        OLLAMA: "whole",
        COHERE: "after the text",
        GEMINI: "in order",
    },
    "refusal text": {CHAT: "refusal", RESPONSES: "refusal", MESSAGES: "stop_details, with its stop reason"},
    "web searches": {RESPONSES: "web_search_call", MESSAGES: "server_tool_use and its result"},
    "finish length": {
        CHAT: "length",
        RESPONSES: "incomplete",
        MESSAGES: "max_tokens",
        CONVERSE: "max_tokens",
        LLAMA: "length",
        OLLAMA: "length",
        COHERE: "MAX_TOKENS",
        GEMINI: "MAX_TOKENS",
    },
    "finish content_filter": {
        CHAT: "content_filter",
        RESPONSES: "incomplete",
        MESSAGES: "refusal",
        CONVERSE: "content_filtered",
        GEMINI: "SAFETY",
    },
    "finish refusal": {MESSAGES: "refusal"},
    "finish stop_sequence": {MESSAGES: "stop_sequence", CONVERSE: "stop_sequence", COHERE: "STOP_SEQUENCE"},
    "finish pause": {MESSAGES: "pause_turn"},
    "cache reads": {
        CHAT: "cached_tokens",
        RESPONSES: "cached_tokens",
        MESSAGES: "cache_read_input_tokens",
        CONVERSE: "cacheReadInputTokens",
        COHERE: "cached_tokens",
        GEMINI: "cachedContentTokenCount",
    },
    "cache writes": {CHAT: "one figure", RESPONSES: "one figure", MESSAGES: "by lifetime", CONVERSE: "by lifetime"},
    "reasoning tokens": {
        CHAT: "reasoning_tokens",
        RESPONSES: "reasoning_tokens",
        MESSAGES: "thinking_tokens",
        GEMINI: "thoughtsTokenCount",
    },
    "audio and prediction tokens": {CHAT: "details"},
    "service tier": {CHAT: "service_tier", RESPONSES: "service_tier", MESSAGES: "in usage", CONVERSE: "serviceTier"},
    "errors inside a stream": {
        CHAT: "an error object",
        RESPONSES: "three forms",
        MESSAGES: "event error",
        CONVERSE: "an exception",
        LLAMA: "an exception",
        OLLAMA: "a line",
        COHERE: "message-end",
        GEMINI: "an error object",
    },
}
"""Feature → format → how; a format that is missing does not play it."""


def plays(feature: str, format: Format) -> bool:
    """Returns whether a format has words for a feature."""
    return format in PLAYS[feature]
