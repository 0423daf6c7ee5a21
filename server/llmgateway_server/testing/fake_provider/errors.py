"""Failures in the vendors' shapes: the body of a status, and the last frames of a stream that fails."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llmgateway_server.testing.fake_provider import anthropic_messages, openai_chat, openai_responses
from llmgateway_server.testing.fake_provider.frames import compact, frame
from llmgateway_server.testing.fake_provider.reply import FakeError, Format

OPENAI_DEFAULTS: dict[int, tuple[str, str | None]] = {
    400: ("invalid_request_error", None),
    401: ("invalid_request_error", "invalid_api_key"),
    403: ("invalid_request_error", "unsupported_country_region_territory"),
    404: ("invalid_request_error", "model_not_found"),
    429: ("requests", "rate_limit_exceeded"),
    500: ("server_error", None),
    503: ("server_error", None),
}
"""Status → type and code."""
ANTHROPIC_DEFAULTS: dict[int, tuple[str, str | None]] = {
    400: ("invalid_request_error", None),
    401: ("authentication_error", None),
    402: ("billing_error", None),
    403: ("permission_error", None),
    404: ("not_found_error", None),
    413: ("request_too_large", None),
    429: ("rate_limit_error", None),
    500: ("api_error", None),
    504: ("timeout_error", None),
    529: ("overloaded_error", None),
}
DEFAULTS: dict[Format, dict[int, tuple[str, str | None]]] = {
    "openai_chat": OPENAI_DEFAULTS,
    "openai_responses": OPENAI_DEFAULTS,
    "anthropic_messages": ANTHROPIC_DEFAULTS,
}
"""What an error is called where the script gives a status only; an unknown status is called as its hundred."""


def body(error: FakeError, format: Format, request_id: str = "") -> dict[str, Any]:
    """Returns the JSON of an error status."""
    found = problem(error, format)
    if format == "anthropic_messages":
        inner = {"details": None, "type": found["type"], "message": found["message"]}
        return {"type": "error", "error": inner, "request_id": request_id or None}
    return {"error": {key: found[key] for key in ("message", "type", "param", "code")}}


def frames(error: FakeError, format: Format, request: Mapping[str, Any], request_id: str = "") -> list[bytes]:
    """Returns a stream that begins as `error.reply` does and fails after `error.in_stream_after` frames."""
    after = error.in_stream_after or 0
    match format:
        case "openai_responses":
            form = error.responses_form
            return openai_responses.failure_frames(error.reply, request, problem(error, format), form, after)
        case "openai_chat":
            said = openai_chat.frames(error.reply, request)
            return [*said[:after], frame(compact(body(error, format)))]
        case _:
            said = anthropic_messages.frames(error.reply, request)
            return [*said[:after], frame(compact(body(error, format, request_id)), "error")]


def problem(error: FakeError, format: Format) -> dict[str, Any]:
    """Returns type, code, message and param, with what follows from the status."""
    names = DEFAULTS[format]
    known = names.get(error.status) or names[500 if error.status >= 500 else 400]
    return {
        "type": error.type or known[0],
        "code": error.code if error.code is not None or error.type else known[1],
        "message": error.message or f"The fake provider was told to answer {error.status}.",
        "param": error.param,
    }
