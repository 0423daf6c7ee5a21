"""Error objects in all the shapes that those give them who speak like OpenAI.

OpenAI writes `{"error": {...}}`. Others write the object itself (Mistral, vLLM of old, Cerebras), a text in its place
(xAI, Hugging Face), `{"detail": ...}` (what FastAPI writes), or a list around it (Google).
"""

from __future__ import annotations

from typing import Any

import msgspec

from llmgateway_server.providers.dialects.dialect import UNREADABLE
from llmgateway_server.providers.dialects.problem import Problem

decode_any = msgspec.json.Decoder().decode


def problem_in(body: bytes) -> Problem | None:
    """Returns the error that a body holds, in whatever shape; None where it holds none or cannot be read."""
    try:
        found = decode_any(body)
    except UNREADABLE:
        return None
    if isinstance(found, list) and found:
        found = found[0]
    if not isinstance(found, dict):
        return None
    if found.get("error"):
        return problem_of(found["error"], found)
    if found.get("detail"):
        return _of_detail(found["detail"])
    return _of_object(found) if isinstance(found.get("message"), str) else None


def problem_of(error: object, beside: dict[str, Any] | None = None) -> Problem:
    """Returns an error from what stands under `error`.

    Args:
        error: an object, a text, or anything else.
        beside: the object that it stands in; a code beside a text is the text's.
    """
    if isinstance(error, dict):
        return _of_object(error)
    beside = beside or {}
    return Problem(error, beside.get("type"), beside.get("code"), beside.get("param"))


def _of_object(error: dict[str, Any]) -> Problem:
    if _is_moderated(error.get("metadata")):
        return Problem(error.get("message"), error.get("type"), "content_filter")
    return Problem(error.get("message"), error.get("type"), error.get("code"), error.get("param"))


def _is_moderated(metadata: object) -> bool:
    """OpenRouter says 403 to a prompt that it judged, as to a bad key, and tells what it found.

    Source: https://openrouter.ai/docs/api-reference/errors
    """
    return isinstance(metadata, dict) and ("flagged_input" in metadata or bool(metadata.get("reasons")))


def _of_detail(detail: object) -> Problem:
    """FastAPI lists what is wrong with each field, or says one thing as a text or as an object."""
    first = detail[0] if isinstance(detail, list) and detail else detail
    if not isinstance(first, dict):
        return Problem(first)
    place = first.get("loc")
    names = [each for each in place if isinstance(each, str) and each != "body"] if isinstance(place, list) else []
    return Problem(
        first.get("msg") or first.get("message"), first.get("type"), first.get("code"), names[0] if names else None
    )
