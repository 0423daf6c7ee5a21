"""What text models are asked: the body of the request, and what it cannot say. See `bedrock_text`."""

from __future__ import annotations

from typing import Any

from llmgateway_server.core.calls import Attempt
from llmgateway_server.core.messages import Role
from llmgateway_server.core.requests import CompleteRequest
from llmgateway_server.providers.dialects.bedrock_invoke.text_only import completion_of, refuse_beyond_text
from llmgateway_server.providers.dialects.bedrock_invoke.turns import turns_of
from llmgateway_server.providers.dialects.bedrock_text.families import DEFAULT_MAX_TOKENS, Family, family_of
from llmgateway_server.providers.dialects.bedrock_text.places import put
from llmgateway_server.providers.dialects.dialect import Unsupported


def request_body(attempt: Attempt, dialect: str) -> dict[str, Any]:
    """Returns the body; what the caller left out is left to the vendor, as far as the vendor allows.

    Raises:
        RequestError: UNSUPPORTED_OPTION with everything that the dialect cannot say.
    """
    request = completion_of(attempt)
    unsupported = Unsupported(dialect, attempt.call, drop=request.drop_unsupported)
    family = family_of(attempt.target.upstream_model)
    if family is None:
        unsupported.essential("model")
    refuse_beyond_text(request, family.options if family else (), unsupported)
    turns = turns_of(request.messages, _harmless(family, request), unsupported, system_first=True)
    unsupported.settle()
    if family is None:  # pragma: no cover: refused above
        raise TypeError(attempt.target)
    body = family.writing.fields(turns)
    for name, place in family.options.items():
        value = _value(request, name)
        if name == "max_output_tokens" and value is None and family.demands_max_tokens:
            value = attempt.target.profile.max_output_token_count or DEFAULT_MAX_TOKENS
            attempt.record.max_output_tokens = value
        if value is not None:
            put(body, place, value)
    return {**body, **(family.streamed if attempt.call.streaming else {})}


def _harmless(family: Family | None, request: CompleteRequest) -> Any:
    """Returns what breaks up the marks of turns; a question that stands alone has none."""
    alone = len(request.messages) == 1 and request.messages[0].role is Role.USER
    if family is None or (alone and getattr(family.writing, "bare", False)):
        return str
    return family.writing.harmless


def _value(request: CompleteRequest, name: str) -> Any:
    value = getattr(request, name)
    if name == "stop":
        return list(value) or None
    return value or None if name.endswith("_penalty") else value
