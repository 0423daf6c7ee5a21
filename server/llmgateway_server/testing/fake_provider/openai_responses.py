"""Writes a reply as Responses do: one JSON object, or numbered and named events.

Source: OpenAI's API reference, "Responses" and "Streaming events", and recorded traffic.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from llmgateway_server.testing.fake_provider.frames import compact, frame, paddings, wish
from llmgateway_server.testing.fake_provider.openai_responses_items import Json, item_events, items
from llmgateway_server.testing.fake_provider.reply import FakeReply, FakeUsage, Finish

INCOMPLETE: dict[Finish, str] = {"length": "max_output_tokens", "content_filter": "content_filter"}
"""Finishes after which a response is incomplete, and the reason it gives; after all others it is completed."""

ECHOED: dict[str, Any] = {
    "background": False,
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "safety_identifier": None,
    "store": True,
    "temperature": 1.0,
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": 1.0,
    "truncation": "disabled",
    "user": None,
}
"""Settings that a response repeats, and their values where the request has none."""


def body(reply: FakeReply, request: Mapping[str, Any]) -> Json:
    """Returns a unary answer to a decoded request."""
    reason = INCOMPLETE.get(reply.ends)
    status = "incomplete" if reason else "completed"
    ended: Json = {"usage": usage(reply.usage), "service_tier": reply.service_tier or "default"}
    if reason:
        ended["incomplete_details"] = {"reason": reason}
    else:
        ended["completed_at"] = reply.created_at_s + 1
    return {**_response(reply, request, status), **ended, "output": items(reply, request)}


def frames(reply: FakeReply, request: Mapping[str, Any]) -> list[bytes]:
    """Returns a streamed answer, one frame per event; there is no `[DONE]`."""
    last = body(reply, request)
    events = [*_opening(reply, request), *item_events(reply, request)]
    return _numbered([*events, {"type": f"response.{last['status']}", "response": last}], reply, request)


def failure_frames(
    reply: FakeReply, request: Mapping[str, Any], problem: Mapping[str, Any], form: str, after: int
) -> list[bytes]:
    """Returns a stream that fails: at most `after` frames of the reply, then the end that `form` names.

    Args:
        problem: type, code, message and param.
        form: see `FakeError.responses_form`.
    """
    said = [*_opening(reply, request), *item_events(reply, request)][:after]
    error = {"type": "error", "error": {key: problem[key] for key in ("type", "code", "message", "param")}}
    flat = {"type": "error", **{key: problem[key] for key in ("code", "message", "param")}}
    failed = {
        **_response(reply, request, "failed"),
        "error": {"code": problem["code"] or "server_error", "message": problem["message"]},
    }
    ends = {
        "error+failed": [error, {"type": "response.failed", "response": failed}],
        "failed": [{"type": "response.failed", "response": failed}],
        "error": [flat],
    }
    return _numbered([*said, *ends[form]], reply, request)


def usage(figures: FakeUsage) -> Json:
    """Returns the figures in the words of Responses."""
    return {
        "input_tokens": figures.input_tokens,
        "input_tokens_details": {
            "cached_tokens": figures.cache_read_tokens,
            "cache_write_tokens": figures.cache_write_tokens,
        },
        "output_tokens": figures.output_tokens,
        "output_tokens_details": {"reasoning_tokens": figures.reasoning_tokens or 0},
        "total_tokens": figures.input_tokens + figures.output_tokens,
    }


def _response(reply: FakeReply, request: Mapping[str, Any], status: str) -> Json:
    echoed = {key: wish(request, key, default=value) for key, value in ECHOED.items()}
    return {
        "id": reply.response_id or "resp_fake",
        "object": "response",
        "created_at": reply.created_at_s,
        "status": status,
        "error": None,
        "incomplete_details": None,
        "model": reply.model or request["model"],
        "output": [],
        "reasoning": {
            "effort": wish(request, "reasoning", "effort"),
            "summary": wish(request, "reasoning", "summary"),
        },
        "service_tier": "auto",
        "text": {"format": wish(request, "text", "format", default={"type": "text"}), "verbosity": "medium"},
        "usage": None,
        **echoed,
    }


def _opening(reply: FakeReply, request: Mapping[str, Any]) -> list[Json]:
    begun = _response(reply, request, "in_progress")
    return [{"type": f"response.{step}", "response": begun} for step in ("created", "in_progress")]


def _numbered(events: Iterable[Json], reply: FakeReply, request: Mapping[str, Any]) -> list[bytes]:
    """Returns the frames, numbered from 0; deltas get a padding unless the request says no."""
    padded = wish(request, "stream_options", "include_obfuscation", default=True)
    padding = paddings(reply.response_id or "resp_fake")
    written: list[bytes] = []
    for number, event in enumerate(events):
        said = {"type": event["type"], "sequence_number": number, **event}
        if padded and event["type"].endswith(".delta"):
            said["obfuscation"] = next(padding)
        written.append(frame(compact(said), event["type"]))
    return written
