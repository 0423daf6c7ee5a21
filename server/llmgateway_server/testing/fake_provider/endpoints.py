"""What the fake provider serves: paths, what each of them checks and writes, and the manners of each format."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from typing import Any
from urllib.parse import unquote

from llmgateway_server.testing.fake_provider import (
    anthropic_hosts,
    anthropic_messages,
    bedrock_converse,
    bedrock_invoke,
    bedrock_llama,
    bedrock_text,
    checks_anthropic,
    checks_bedrock,
    checks_bedrock_invoke,
    checks_cohere,
    checks_gemini,
    checks_ollama,
    checks_openai,
    checks_responses,
    cohere_chat,
    errors,
    gemini,
    ollama_chat,
    openai_chat,
    openai_chat_azure,
    openai_responses,
)
from llmgateway_server.testing.fake_provider.checks import Asked
from llmgateway_server.testing.fake_provider.frames import compact
from llmgateway_server.testing.fake_provider.reply import CREATED_AT_S, FakeError, FakeReply, Format

Json = dict[str, Any]
BYTES_PER_TOKEN = 4
MODELS = ("fake-1",)
"""What is listed where a provider was given no models."""


def asks_to_stream(request: Mapping[str, Any]) -> bool:
    """Tells whether a request wants a stream, where its body says so."""
    return request.get("stream") is True


def always(_request: Mapping[str, Any]) -> bool:
    """Tells that a path streams, whatever the request says."""
    return True


def never(_request: Mapping[str, Any]) -> bool:
    """Tells that a path does not stream."""
    return False


def streams_unless_told_not_to(request: Mapping[str, Any]) -> bool:
    """Tells whether a request wants a stream, where that is the default."""
    return request.get("stream") is not False


@dataclass(slots=True, frozen=True)
class Endpoint:
    """A path that answers with replies. A model that stands in the path is the `model` of the request for all below."""

    format: Format
    check: Callable[[Asked], None]
    body: Callable[[FakeReply, Mapping[str, Any]], Json]
    frames: Callable[[FakeReply, Mapping[str, Any]], list[bytes]]
    id_prefix: str
    streams: Callable[[Mapping[str, Any]], bool] = asks_to_stream
    headers: Callable[[FakeReply], Mapping[str, str]] = lambda _: {}
    """More headers of a whole answer."""


@dataclass(slots=True, frozen=True)
class Manners:
    """How a vendor does what is the same on all its paths."""

    error_body: Callable[[FakeError, str], Json]
    """Given the id of the request: the JSON of an error status."""
    error_frames: Callable[[FakeError, Mapping[str, Any], str], list[bytes]]
    """Given the request and its id: a stream that begins as `error.reply` does and fails."""
    request_id_header: str = "x-request-id"
    error_headers: Callable[[FakeError], Mapping[str, str]] = lambda _: {}
    """More headers of an error status, beside those of the script."""
    stream_type: str = "text/event-stream; charset=utf-8"
    """Content type of its streams."""


@dataclass(slots=True, frozen=True)
class Count:
    """A path that counts the tokens of a request."""

    format: Format
    check: Callable[[Asked], None]
    body: Callable[[int], Json]


TEXT_MODEL = Endpoint(
    "bedrock_text",
    checks_bedrock_invoke.check_text,
    bedrock_text.body,
    bedrock_text.frames,
    "",
    headers=bedrock_invoke.count_headers,
)
INVOKED: dict[str, Endpoint] = {
    "claude_text": TEXT_MODEL,
    "claude": Endpoint(
        "anthropic_on_bedrock",
        checks_bedrock_invoke.check_bedrock_message,
        anthropic_messages.body,
        anthropic_hosts.bedrock_frames,
        "msg_bdrk_",
    ),
    "text_model": TEXT_MODEL,
    "llama": Endpoint(
        "bedrock_llama",
        checks_bedrock_invoke.check_llama,
        bedrock_llama.body,
        bedrock_llama.frames,
        "",
        headers=bedrock_invoke.count_headers,
    ),
}
"""What InvokeModel answers, by the models in its path; the first that fits counts."""
ELSEWHERE: dict[str, Endpoint] = {
    **dict.fromkeys(
        (openai_chat_azure.V1, openai_chat_azure.DEPLOYMENT, openai_chat_azure.MODELS),
        Endpoint("openai_chat", openai_chat_azure.check, openai_chat_azure.body, openai_chat_azure.frames, "chatcmpl-"),
    ),
    "/openai/v1/responses": Endpoint(
        "openai_responses", openai_chat_azure.check_response, openai_responses.body, openai_responses.frames, "resp_"
    ),
    "/alike/v1/chat/completions": Endpoint(
        "openai_chat", checks_openai.check_alike, openai_chat.body, openai_chat.frames, "chatcmpl-"
    ),
    "/alike/v1/responses": Endpoint(
        "openai_responses", checks_responses.check_response, openai_responses.body, openai_responses.frames, "resp_"
    ),
    **{
        f"/model/{{{models_in_path}}}/{action}": replace(invoked, streams=streams)
        for models_in_path, invoked in (
            (
                "nova",
                Endpoint(
                    "bedrock_converse",
                    checks_bedrock_invoke.check_nova,
                    bedrock_converse.body,
                    bedrock_invoke.nova_frames,
                    "",
                ),
            ),
            (
                "chat_model",
                Endpoint(
                    "bedrock_text",
                    checks_bedrock_invoke.check_chat_model,
                    openai_chat.body,
                    bedrock_invoke.chat_frames,
                    "chatcmpl-",
                ),
            ),
        )
        for action, streams in (("invoke", never), ("invoke-with-response-stream", always))
    },
}
"""Other paths of a format, whose own are in `ENDPOINTS`; looked at first."""
ENDPOINTS: dict[str, Endpoint] = {
    "/v1/chat/completions": Endpoint(
        "openai_chat", checks_openai.check_chat, openai_chat.body, openai_chat.frames, "chatcmpl-"
    ),
    "/v1/responses": Endpoint(
        "openai_responses", checks_responses.check_response, openai_responses.body, openai_responses.frames, "resp_"
    ),
    "/v1/messages": Endpoint(
        "anthropic_messages",
        checks_anthropic.check_message,
        anthropic_messages.body,
        anthropic_messages.frames,
        "msg_",
    ),
    **{
        f"/model/{{model}}/{action}": Endpoint(
            "bedrock_converse",
            checks_bedrock.check_converse,
            bedrock_converse.body,
            bedrock_converse.frames,
            "",
            streams,
        )
        for action, streams in (("converse", never), ("converse-stream", always))
    },
    **{
        f"/model/{{{models_in_path}}}/{action}": replace(invoked, streams=streams)
        for models_in_path, invoked in INVOKED.items()
        for action, streams in (("invoke", never), ("invoke-with-response-stream", always))
    },
    **{
        f"/{{base}}/publishers/anthropic/models/{{vertex_model}}:{action}": Endpoint(
            "anthropic_on_vertex",
            checks_bedrock_invoke.check_vertex_message,
            anthropic_messages.body,
            anthropic_messages.frames,
            "msg_vrtx_",
            streams,
        )
        for action, streams in (("rawPredict", never), ("streamRawPredict", always))
    },
    "/api/chat": Endpoint(
        "ollama_chat", checks_ollama.check_chat, ollama_chat.body, ollama_chat.frames, "", streams_unless_told_not_to
    ),
    "/v2/chat": Endpoint("cohere_chat", checks_cohere.check_chat, cohere_chat.body, cohere_chat.frames, ""),
    "/{base}/models/{model}:generateContent": Endpoint(
        "gemini", checks_gemini.check_generation, gemini.body, gemini.frames, "gemini_", never
    ),
    "/{base}/models/{model}:streamGenerateContent": Endpoint(
        "gemini", checks_gemini.check_stream, gemini.body, gemini.frames, "gemini_", always
    ),
}
COUNTS: dict[str, Count] = {
    "/v1/messages/count_tokens": Count(
        "anthropic_messages", checks_anthropic.check_count, lambda tokens: {"input_tokens": tokens}
    ),
    "/{base}/publishers/anthropic/models/count-tokens:rawPredict": Count(
        "anthropic_on_vertex", checks_bedrock_invoke.check_vertex_count, lambda tokens: {"input_tokens": tokens}
    ),
    "/v1/responses/input_tokens": Count(
        "openai_responses",
        checks_responses.check_count,
        lambda tokens: {"object": "response.input_tokens", "input_tokens": tokens},
    ),
    "/{base}/models/{model}:countTokens": Count(
        "gemini", checks_gemini.check_count, lambda tokens: {"totalTokens": tokens}
    ),
}
LIST_CHECKS: dict[Format, Callable[[Asked], None]] = {
    "openai_chat": checks_openai.check_key,
    "anthropic_messages": checks_anthropic.check_headers,
}
BASE_PATHS: dict[str, str] = {
    **dict.fromkeys(
        (
            *("openai-compatible", "groq", "mistral", "deepseek", "xai", "openrouter", "together", "fireworks"),
            *("perplexity", "cerebras", "huggingface", "vllm", "llama.cpp", "lm-studio"),
        ),
        "/alike/v1",
    ),
    "azure": "/openai/v1",
    "bedrock": "",
    "bedrock-anthropic": "",
    "vertex-anthropic": "/v1/projects/p/locations/l/publishers/anthropic",
    "ollama": "",
    "cohere": "",
    "google": "/v1beta",
    "vertex": "/v1/projects/p/locations/l/publishers/google",
}
"""Path of the base URL of a gateway's account, by its vendor; others have `/v1`."""
RETRIED_STATUSES = {408, 409, 429}
"""Statuses below 500 that Anthropic tells its callers to retry."""


def _whether_to_retry(error: FakeError) -> Mapping[str, str]:
    return {"x-should-retry": str(error.status >= 500 or error.status in RETRIED_STATUSES).lower()}


def _manners(format: Format, **more: Any) -> Manners:
    return Manners(
        lambda error, request_id: errors.body(error, format, request_id),
        lambda error, request, request_id: errors.frames(error, format, request, request_id),
        **more,
    )


def _invoked(error_frames: Callable[[FakeError, Mapping[str, Any], str], list[bytes]]) -> Manners:
    """Returns the manners of InvokeModel, whose streams fail as the model's."""
    return Manners(
        bedrock_converse.error_body,
        error_frames,
        request_id_header="x-amzn-requestid",
        error_headers=bedrock_converse.error_headers,
        stream_type=bedrock_converse.EVENT_STREAM,
    )


MANNERS: dict[Format, Manners] = {
    "openai_chat": _manners("openai_chat"),
    "openai_responses": _manners("openai_responses"),
    "anthropic_messages": _manners(
        "anthropic_messages", request_id_header="request-id", error_headers=_whether_to_retry
    ),
    "bedrock_converse": Manners(
        bedrock_converse.error_body,
        bedrock_converse.error_frames,
        request_id_header="x-amzn-requestid",
        error_headers=bedrock_converse.error_headers,
        stream_type=bedrock_converse.EVENT_STREAM,
    ),
    "anthropic_on_vertex": _manners("anthropic_messages", request_id_header="request-id"),
    "anthropic_on_bedrock": _invoked(anthropic_hosts.bedrock_error_frames),
    "bedrock_llama": _invoked(bedrock_llama.error_frames),
    "bedrock_text": _invoked(bedrock_text.error_frames),
    "gemini": Manners(gemini.error_body, gemini.error_frames, "x-goog-request-id", stream_type="text/event-stream"),
    "ollama_chat": Manners(ollama_chat.error_body, ollama_chat.error_frames, stream_type=ollama_chat.NDJSON),
    "cohere_chat": Manners(
        cohere_chat.error_body, cohere_chat.error_frames, "x-debug-trace-id", stream_type="text/event-stream"
    ),
}


def endpoint_for(path: str) -> tuple[Endpoint | Count, str] | None:
    """Returns what is served at a path without its query, with the model that stands in it; None for nothing."""
    served: Mapping[str, Endpoint | Count] = {**ELSEWHERE, **ENDPOINTS, **COUNTS}
    for template, known in served.items():
        if found := _pattern(template).fullmatch(path):
            return known, unquote(found.groupdict().get("model") or "")
    return None


@cache
def _pattern(template: str) -> re.Pattern[str]:
    """Returns what matches a path; `{model}` stands for one segment of it, `{...}` of another name for any number."""
    pieces = re.split(r"\{(\w+)\}", template)
    names = {"model": "(?P<model>[^/]+?)", **bedrock_invoke.MODELS_IN_PATH}
    return re.compile("".join(names.get(each, ".*") if at % 2 else re.escape(each) for at, each in enumerate(pieces)))


def speaks(headers: Mapping[str, str]) -> Format:
    """Returns whose caller it is where the path does not tell: only Anthropic's send a version."""
    return "anthropic_messages" if "anthropic-version" in headers else "openai_chat"


def estimate(request: Mapping[str, Any]) -> int:
    """Returns input tokens as ⌈bytes of the body ÷ 4⌉, which is at least 1."""
    return -(-len(compact(request).encode()) // BYTES_PER_TOKEN)


def models(names: Iterable[str], format: Format) -> Json:
    """Returns the list of models in the vendor's shape."""
    if format != "anthropic_messages":
        known = [{"id": name, "object": "model", "created": CREATED_AT_S, "owned_by": "fake"} for name in names]
        return {"object": "list", "data": known}
    created = datetime.fromtimestamp(CREATED_AT_S, UTC).isoformat().replace("+00:00", "Z")
    entries = [
        {"type": "model", "id": name, "display_name": name, "created_at": created, "lifecycle": "active"}
        for name in names
    ]
    ends = {"first_id": entries[0]["id"], "last_id": entries[-1]["id"]} if entries else {}
    return {"data": entries, "has_more": False, **ends}
