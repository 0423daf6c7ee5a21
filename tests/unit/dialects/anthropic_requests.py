"""Requests to Anthropic for tests: bodies, notices and refusals of what is asked."""

from __future__ import annotations

import dataclasses
from typing import Any

from llmgateway_server.core.calls import Attempt, NoticeCode
from llmgateway_server.core.messages import Message, Part, Role, TextPart
from llmgateway_server.core.requests import CompleteRequest, FormatKind, ResponseFormat
from llmgateway_server.core.targets import Profile, ReasoningStyle
from tests.unit.dialects.anthropic_replies import DIALECT
from tests.unit.dialects.kit import TARGET, asked, attempt_of, refused_fields

HI = Message(Role.USER, [Part(TextPart("Hi"))])
JSON_SCHEMA = ResponseFormat(FormatKind.JSON_SCHEMA, "answer", schema_json='{"type":"object"}')


def attempt_with(request: CompleteRequest, style: ReasoningStyle, **profile: Any) -> Attempt:
    return attempt_of(request, dataclasses.replace(TARGET, profile=Profile(reasoning=style, **profile)))


def body_of(
    request: CompleteRequest, style: ReasoningStyle = ReasoningStyle.UNKNOWN, **profile: Any
) -> tuple[dict[str, Any], list[tuple[NoticeCode, str]]]:
    """Returns the body and the notices."""
    return asked(DIALECT, attempt_with(request, style, **profile))


def refused(request: CompleteRequest, style: ReasoningStyle = ReasoningStyle.UNKNOWN, **profile: Any) -> list[str]:
    return refused_fields(DIALECT, attempt_with(request, style, **profile))
