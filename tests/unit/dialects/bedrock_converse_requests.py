"""Requests to Converse for tests: bodies, notices, refusals, and the service's own model as judge of what is asked."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import botocore.session
from botocore.model import Shape, StructureShape
from botocore.validate import ParamValidator

from llmgateway_server.core.calls import Attempt, NoticeCode
from llmgateway_server.core.messages import Message, Part, Role, TextPart, ToolCallPart, ToolResultPart
from llmgateway_server.core.requests import CompleteRequest, CountTokensRequest
from llmgateway_server.core.targets import Profile
from llmgateway_server.providers.dialects.bedrock_converse import BedrockConverse
from tests.unit.dialects.kit import TARGET, asked, attempt_of, refused_fields

DIALECT = BedrockConverse()
HI = Message(Role.USER, [Part(TextPart("Hi"))])
CALLED = [
    HI,
    Message(Role.ASSISTANT, [Part(ToolCallPart("t1", "clock", "{}"))]),
    Message(Role.TOOL, [Part(ToolResultPart("t1", "clock", [TextPart("noon")]))]),
]
CLAUDE_4 = "us.anthropic.claude-sonnet-4-20250514-v1:0"
CLAUDE_4_5 = "eu.anthropic.claude-sonnet-4-5-20250929-v1:0"
CLAUDE_5 = "us.anthropic.claude-sonnet-5"
NOVA = "amazon.nova-pro-v1:0"
NOVA_2 = "us.amazon.nova-2-lite-v1:0"
PROFILE_ARN = "arn:aws:bedrock:eu-west-1:123456789012:application-inference-profile/a1b2c3d4e5f6"

SERVICE = botocore.session.get_session().get_service_model("bedrock-runtime")


def attempt_at(model: str, request: CompleteRequest | CountTokensRequest, **profile: Any) -> Attempt:
    return attempt_of(request, dataclasses.replace(TARGET, upstream_model=model, profile=Profile(**profile)))


def body_of(
    model: str, request: CompleteRequest, **profile: Any
) -> tuple[dict[str, Any], list[tuple[NoticeCode, str]]]:
    """Returns the body, which the service takes, and the notices."""
    body, notices = asked(DIALECT, attempt_at(model, request, **profile))
    assert_taken(model, body)
    return body, notices


def refused(model: str, request: CompleteRequest, **profile: Any) -> list[str]:
    return refused_fields(DIALECT, attempt_at(model, request, **profile))


def assert_taken(model: str, body: dict[str, Any]) -> None:
    """Holds a body against the service's model: shapes, required fields, words, patterns and lengths."""
    for operation in ("Converse", "ConverseStream"):
        shape = SERVICE.operation_model(operation).input_shape
        assert isinstance(shape, StructureShape)
        report = ParamValidator().validate({"modelId": model, **body}, shape)
        assert not report.has_errors(), report.generate_report()
        assert list(_faults(body, shape, "")) == []


def _faults(value: Any, shape: Shape, path: str) -> Any:
    """Yields what the client's own validator does not look at."""
    match shape.type_name:
        case "structure" if not getattr(shape, "is_document_type", False):
            if getattr(shape, "is_tagged_union", False) and len(value) != 1:
                yield f"{path}: not one of a union"
            for name, inner in value.items():
                yield from _faults(inner, shape.members[name], f"{path}.{name}")
        case "list":
            for index, inner in enumerate(value):
                yield from _faults(inner, shape.member, f"{path}[{index}]")
        case "map":
            for key, inner in value.items():
                yield from _faults(key, shape.key, f"{path}.{key}")
                yield from _faults(inner, shape.value, f"{path}.{key}")
        case "string":
            words, pattern = getattr(shape, "enum", []), shape.metadata.get("pattern")
            if words and value not in words:
                yield f"{path}: not one of {words}"
            if pattern and not re.fullmatch(pattern, value):
                yield f"{path}: not like {pattern}"
            if not shape.metadata.get("min", 0) <= len(value) <= shape.metadata.get("max", 10**9):
                yield f"{path}: too long or too short"
        case "integer" | "float":
            if not shape.metadata.get("min", value) <= value <= shape.metadata.get("max", value):
                yield f"{path}: too small or too large"
