"""What models that read and write nothing but text cannot be told: refused by name, or left out with a notice."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence

from llmgateway_server.core.calls import Attempt, NoticeCode
from llmgateway_server.core.messages import (
    MediaPart,
    Message,
    Part,
    ReasoningPart,
    RefusalPart,
    Role,
    TextPart,
    ToolCallPart,
)
from llmgateway_server.core.requests import CompleteRequest, FormatKind
from llmgateway_server.providers.dialects.dialect import Unsupported

USUAL_TIERS = ("", "auto", "default", "standard_only")
"""Service tiers that mean what comes without one."""


def completion_of(attempt: Attempt) -> CompleteRequest:
    """Returns what is asked for."""
    request = attempt.call.request
    if not isinstance(request, CompleteRequest):  # pragma: no cover: `operations` keeps others away
        raise TypeError(request)
    return request


def texts_of(messages: Sequence[Message], unsupported: Unsupported) -> Iterator[tuple[Role, str]]:
    """Yields who says what, one text for each message; texts of a message follow one another as they are.

    Args:
        messages: in order.
        unsupported: gets what is no text.
    """
    for m, message in enumerate(messages):
        path = f"messages[{m}]"
        if message.name:
            unsupported.hint(f"{path}.name")
        for p, part in enumerate(message.parts):
            _judge(f"{path}.parts[{p}]", part, unsupported)
        contents = (part.content for part in message.parts)
        yield message.role, "".join(each.text for each in contents if isinstance(each, TextPart | RefusalPart))


def refuse_beyond_text(request: CompleteRequest, sayable: Container[str], unsupported: Unsupported) -> None:
    """Notes the options that a model of text alone does not have.

    Args:
        request: whose options are looked at.
        sayable: those that the model has, by their names in the request.
        unsupported: gets the others.
    """
    reasoning, wanted = request.reasoning, request.response_format
    for path, given in (
        ("tools", bool(request.tools)),
        ("tool_choice", request.tool_choice is not None),
        ("response_format", wanted is not None and wanted.kind is not FormatKind.TEXT),
        ("temperature", request.temperature is not None),
        ("top_p", request.top_p is not None),
        ("top_k", request.top_k is not None),
        ("max_output_tokens", request.max_output_tokens is not None),
        ("stop", bool(request.stop)),
        ("seed", request.seed is not None),
        ("frequency_penalty", bool(request.frequency_penalty)),
        ("presence_penalty", bool(request.presence_penalty)),
        ("reasoning.effort", reasoning is not None and reasoning.effort not in (None, "none")),
        ("reasoning.budget_token_count", reasoning is not None and bool(reasoning.budget_token_count)),
        ("logprobs", request.logprobs_top_count is not None),
        ("service_tier", request.service_tier not in USUAL_TIERS),
    ):
        if given and path not in sayable:
            unsupported.option(path)
    for path, given in (
        ("parallel_tool_calls", request.parallel_tool_calls is not None),
        ("reasoning.include_text", reasoning is not None and bool(reasoning.include_text)),
        ("end_user_id", bool(request.end_user_id)),
    ):
        if given:
            unsupported.hint(path)


def _judge(path: str, part: Part, unsupported: Unsupported) -> None:
    """Notes what a part holds that is no text."""
    match part.content:
        case TextPart() | RefusalPart():
            pass
        case ReasoningPart():
            unsupported.left_out(NoticeCode.OPTION_DROPPED, f"{path}.reasoning")
        case MediaPart():
            unsupported.essential(f"{path}.media")
        case ToolCallPart():
            unsupported.essential(f"{path}.tool_call")
        case _:
            unsupported.essential(f"{path}.tool_result")
    if part.cache_lifetime is not None:
        unsupported.hint(f"{path}.cache_control")
    if part.provider_state is not None:
        unsupported.left_out(NoticeCode.PROVIDER_STATE_DROPPED, f"{path}.provider_state")
