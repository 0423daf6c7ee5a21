"""What the simulator says: a deterministic list of steps, one per token, made from the request and the script."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from llmgateway_server.core.events import Event, Finished, FinishReason, PartKind, Started, UsageSnapshot
from llmgateway_server.core.messages import Role, TextPart, ToolResultPart
from llmgateway_server.core.requests import CompleteRequest, FormatKind, ToolChoiceMode
from llmgateway_server.core.usage import Usage
from llmgateway_server.providers.dialects.parts import PartsBuilder
from llmgateway_server.providers.simulator.script import Script

WORDS = [
    "the",
    "gateway",
    "answers",
    "every",
    "call",
    "with",
    "care",
    "and",
    "counts",
    "each",
    "token",
    "once",
    "so",
    "that",
    "nobody",
    "pays",
    "twice",
    "for",
    "it",
]
THOUGHTS = [
    "first",
    "I",
    "read",
    "the",
    "question",
    "then",
    "I",
    "weigh",
    "what",
    "is",
    "asked",
    "and",
    "then",
    "I",
    "answer",
]
MAX_EXAMPLE_VALUES = 1000
REFUSAL = "I cannot help with that."
LAST_CHARS = 200
"""How much of the question the default answer repeats."""
PIECE = re.compile(r"\s*\S+\s*$|\s*\S+|\s+$")


@dataclass(slots=True)
class Step:
    """Events that appear together; a token's step waits for the script's pace."""

    events: list[Event]
    is_token: bool


def steps(request: CompleteRequest, script: Script) -> Iterator[Step]:
    """Yields the steps of an answer; the last ends with `Finished`, unless the script's fault is to have no end."""
    parts = PartsBuilder()
    parts.add(Started(f"sim-{hash_text(request):016x}", "chat"))
    cap = request.max_output_tokens
    spent = 0
    reason, native = FinishReason.STOP, "stop"
    for kind, piece in _pieces(request, script):
        if cap is not None and spent >= cap:
            reason, native = FinishReason.LENGTH, "length"
            break
        if script.fault == "content_filter" and spent >= script.at:
            reason, native = FinishReason.CONTENT_FILTER, "content_filter"
            break
        parts.flow(kind, piece)
        spent += 1
        yield Step(parts.take(), is_token=True)
    else:
        for number in range(_tool_count(request, script)):
            name, arguments = _tool_call(request, number)
            parts.tool(number, f"call_{number}", name, arguments)
            spent += 1
            reason, native = FinishReason.TOOL_CALLS, "tool_calls"
            yield Step(parts.take(), is_token=True)
    if script.fault in ("no_end", "empty"):
        return
    parts.close()
    if script.usage == "reported":
        usage = Usage(count_input_tokens(request), spent, reasoning_token_count=script.reasoning or None)
        parts.add(UsageSnapshot(usage))
    parts.add(Finished(reason, native))
    yield Step(parts.take(), is_token=False)


def count_input_tokens(request: CompleteRequest) -> int:
    """Counts the simulator's tokens: words, at least one per message."""
    return sum(max(1, len(text.split())) for text in _texts(request))


def hash_text(request: CompleteRequest) -> int:
    """Returns a number of 64 bits that depends on the request's text alone, the same in every process."""
    digest = hashlib.blake2b(digest_size=8)
    for text in _texts(request):
        digest.update(text.encode()[:LAST_CHARS])
    return int.from_bytes(digest.digest())


def _pieces(request: CompleteRequest, script: Script) -> Iterator[tuple[PartKind, str]]:
    """Yields the tokens of reasoning and text."""
    if script.fault == "empty":
        return
    for number in range(script.reasoning):
        yield PartKind.REASONING, THOUGHTS[number % len(THOUGHTS)] + " "
    if script.fault == "refusal":
        for piece in PIECE.findall(REFUSAL):
            yield PartKind.REFUSAL, piece
        return
    if script.tokens is not None:
        for number in range(script.tokens):
            yield PartKind.TEXT, WORDS[number % len(WORDS)] + " "
        return
    for piece in PIECE.findall(script.text or _default_text(request)):
        yield PartKind.TEXT, piece


def _default_text(request: CompleteRequest) -> str:
    wanted = request.response_format
    if wanted is not None and wanted.kind is FormatKind.JSON_SCHEMA:
        return json.dumps(example(json.loads(wanted.schema_json)))
    if wanted is not None and wanted.kind is FormatKind.JSON_OBJECT:
        return '{"simulated": true}'
    if _must_call(request):
        return ""
    last = next((text for text in reversed(_texts(request)) if text.strip()), "")
    return f"You said: {last[-LAST_CHARS:]}"


def _must_call(request: CompleteRequest) -> bool:
    choice = request.tool_choice
    return choice is not None and choice.mode in (ToolChoiceMode.REQUIRED, ToolChoiceMode.NAMED)


def _tool_count(request: CompleteRequest, script: Script) -> int:
    if script.fault in ("empty", "refusal"):
        return 0
    return max(script.tools, 1) if _must_call(request) else script.tools


def _tool_call(request: CompleteRequest, number: int) -> tuple[str, str]:
    tools = request.tools
    if request.tool_choice is not None and request.tool_choice.mode is ToolChoiceMode.NAMED:
        tools = [tool for tool in tools if tool.name == request.tool_choice.name]
    if not tools:
        return "lookup", '{"query": "simulated"}'
    tool = tools[number % len(tools)]
    return tool.name, json.dumps(example(json.loads(tool.parameters_json_schema or "{}")))


def example(schema: Any) -> Any:
    """Returns a small value that a plain JSON Schema allows.

    The first of an enumeration, required properties only. A schema that asks for more than `MAX_EXAMPLE_VALUES` values
    gets null or nothing for the rest of them.
    """
    return _Example().of(schema)


class _Example:
    """Makes one example; small schemas can ask for values without number."""

    def __init__(self) -> None:
        self._left = MAX_EXAMPLE_VALUES

    def of(self, schema: Any) -> Any:
        self._left -= 1
        if not isinstance(schema, dict) or self._left < 0:
            return None
        if "const" in schema:
            return schema["const"]
        choices = schema.get("enum")
        if isinstance(choices, list) and choices:
            return choices[0]
        kind = schema.get("type")
        match kind[0] if isinstance(kind, list) and kind else kind:
            case "string":
                return "simulated"
            case "integer" | "number":
                return schema.get("minimum", 1)
            case "boolean":
                return True
            case "array":
                wanted = schema.get("minItems")
                count = min(wanted, self._left) if isinstance(wanted, int) else 0
                return [self.of(schema.get("items")) for _ in range(count)]
            case "null":
                return None
            case _:
                return self._object(schema.get("properties"), schema.get("required"))

    def _object(self, properties: Any, required: Any) -> dict[str, Any]:
        if not isinstance(properties, dict) or not isinstance(required, list):
            return {}
        return {name: self.of(properties.get(name)) for name in required if isinstance(name, str) and self._left > 0}


def _texts(request: CompleteRequest) -> list[str]:
    found = []
    for message in request.messages:
        for part in message.parts:
            match part.content:
                case TextPart(text=text):
                    found.append(text)
                case ToolResultPart(content=content) if message.role is Role.TOOL:
                    found.extend(piece.text for piece in content if isinstance(piece, TextPart))
    return found
