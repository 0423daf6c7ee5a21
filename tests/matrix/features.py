"""What the contract can say, one feature a row: a request that says it and nothing else beside a short question."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

from llmgateway.v1 import completion_pb2, message_pb2, tool_pb2

QUESTION = "What is the weather?"
MARK = "mark-of-the-feature"
"""Stands in whatever a feature says, so that it can be found in what the provider gets."""
BYTES = b"\x89PNG\r\n\x1a\n" + MARK.encode()
PDF = b"%PDF-1.4 " + MARK.encode()
WAV = b"RIFF\x24\x00\x00\x00WAVEfmt " + MARK.encode()
SCHEMA = json.dumps(
    {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    }
)
UNREACHABLE = "https://127.0.0.1:9/picture.png"
"""Whoever fetches it from here is refused before a socket is opened; a vendor that fetches gets it as it is."""

Request = completion_pb2.CompleteRequest
Say = Callable[[Request], None]


@dataclass(frozen=True)
class Feature:
    """One row of the matrix.

    Attributes:
        name: for people.
        say: adds it to a request.
        group: of rows that stand together.
        beside: what the request says without it; nothing where the feature is all.
        reasoning: whether it is asked of a model that reasons.
        means_nothing_more: whether a request without it means the same at some vendors, which then need not be told.
    """

    name: str
    say: Say
    group: str
    beside: Say = lambda _: None
    reasoning: bool = False
    means_nothing_more: bool = False


def plain() -> Request:
    """Returns the request to which features are added."""
    request = Request(max_output_tokens=64)
    request.messages.append(user(message_pb2.Part(text=QUESTION)))
    return request


def user(*parts: message_pb2.Part) -> message_pb2.Message:
    return message_pb2.Message(role=message_pb2.ROLE_USER, parts=parts)


def assistant(*parts: message_pb2.Part) -> message_pb2.Message:
    return message_pb2.Message(role=message_pb2.ROLE_ASSISTANT, parts=parts)


def _media(mime_type: str, data: bytes, filename: str = "") -> Say:
    part = message_pb2.Part(media=message_pb2.Media(mime_type=mime_type, data=data, filename=filename))
    return lambda request: request.messages[0].parts.append(part)


def _address(request: Request) -> None:
    media = message_pb2.Media(mime_type="image/png", uri=UNREACHABLE)
    request.messages[0].parts.append(message_pb2.Part(media=media))


def _before(role: message_pb2.Role.ValueType, text: str = MARK) -> Say:
    message = message_pb2.Message(role=role, parts=[message_pb2.Part(text=text)])
    return lambda request: request.messages.insert(0, message)


def _turns(request: Request) -> None:
    request.messages.insert(0, user(message_pb2.Part(text="Hello")))
    request.messages.insert(1, assistant(message_pb2.Part(text=MARK)))


def _name(request: Request) -> None:
    request.messages[0].name = "ann"


def _tools(request: Request) -> None:
    request.tools.append(
        tool_pb2.Tool(name="weather", description=MARK, parameters_json_schema='{"type":"object","properties":{}}')
    )


def _choice(mode: tool_pb2.ToolChoiceMode.ValueType, name: str = "") -> Say:
    def say(request: Request) -> None:
        _tools(request)
        request.tool_choice.mode, request.tool_choice.name = mode, name

    return say


def _one_at_a_time(request: Request) -> None:
    _tools(request)
    request.parallel_tool_calls = False


def _schema_tool(request: Request) -> None:
    request.tools.append(tool_pb2.Tool(name="weather", parameters_json_schema=SCHEMA))


def _strict(request: Request) -> None:
    _schema_tool(request)
    request.tools[0].strict = True


def _result(*content: message_pb2.ToolResultContent, is_error: bool = False) -> Say:
    def say(request: Request) -> None:
        _tools(request)
        call = message_pb2.Part(tool_call=message_pb2.ToolCall(id="call_1", name="weather", arguments_json="{}"))
        result = message_pb2.ToolResult(tool_call_id="call_1", name="weather", content=content, is_error=is_error)
        request.messages.append(assistant(call))
        request.messages.append(
            message_pb2.Message(role=message_pb2.ROLE_TOOL, parts=[message_pb2.Part(tool_result=result)])
        )

    return say


TEXT_RESULT = message_pb2.ToolResultContent(text=MARK)
IMAGE_RESULT = message_pb2.ToolResultContent(media=message_pb2.Media(mime_type="image/png", data=BYTES))


def _json_schema(request: Request) -> None:
    request.response_format.json_schema.name = "place"
    request.response_format.json_schema.schema_json = SCHEMA


def _as_json(request: Request) -> None:
    request.messages[0].parts[0].text += " Answer as JSON."


def _json_object(request: Request) -> None:
    _as_json(request)
    request.response_format.json_object.SetInParent()


def _more_room(request: Request) -> None:
    request.max_output_tokens = 4096


def _effort(request: Request) -> None:
    _more_room(request)
    request.reasoning.effort = completion_pb2.REASONING_EFFORT_LOW


def _budget(request: Request) -> None:
    _more_room(request)
    request.reasoning.budget_token_count = 1024


def _turn(*parts: message_pb2.Part) -> Say:
    def say(request: Request) -> None:
        request.messages.insert(0, user(message_pb2.Part(text="Hello")))
        request.messages.insert(1, assistant(*parts))

    return say


HI = message_pb2.Part(text="Hi.")
THOUGHT = message_pb2.Part(reasoning=message_pb2.Reasoning(text="I thought."))
REFUSAL = message_pb2.Part(refusal=message_pb2.Refusal(text=MARK))


def _cache(request: Request) -> None:
    request.messages[0].parts[0].cache_control.SetInParent()


def _set(**options: object) -> Say:
    def say(request: Request) -> None:
        for name, value in options.items():
            setattr(request, name, value)

    return say


def _stop(request: Request) -> None:
    request.stop.append("END")


def _logprobs(request: Request) -> None:
    request.logprobs.top_count = 2


FEATURES = (
    Feature("system message", _before(message_pb2.ROLE_SYSTEM), "Messages"),
    Feature("developer message", _before(message_pb2.ROLE_DEVELOPER), "Messages"),
    Feature("several turns", _turns, "Messages"),
    Feature("name of a speaker", _name, "Messages"),
    Feature("refusal in the history", _turn(REFUSAL), "Messages", _turn(HI)),
    Feature("image by content", _media("image/png", BYTES), "Media"),
    Feature("image by address", _address, "Media"),
    Feature("PDF by content", _media("application/pdf", PDF, "paper.pdf"), "Media"),
    Feature("sound by content", _media("audio/wav", WAV), "Media"),
    Feature("tools", _tools, "Tools"),
    Feature("tool results", _result(TEXT_RESULT), "Tools"),
    Feature("failed tool result", _result(TEXT_RESULT, is_error=True), "Tools", _result(TEXT_RESULT)),
    Feature("image in a tool result", _result(IMAGE_RESULT), "Tools", _result(TEXT_RESULT)),
    Feature("no tool may be called", _choice(tool_pb2.TOOL_CHOICE_MODE_NONE), "Tools", _tools, means_nothing_more=True),
    Feature("a tool must be called", _choice(tool_pb2.TOOL_CHOICE_MODE_REQUIRED), "Tools", _tools),
    Feature("this tool must be called", _choice(tool_pb2.TOOL_CHOICE_MODE_NAMED, "weather"), "Tools", _tools),
    Feature("one tool call at a time", _one_at_a_time, "Tools", _tools),
    Feature("strict tools", _strict, "Tools", _schema_tool),
    Feature("JSON schema", _json_schema, "Structured output"),
    Feature("JSON object", _json_object, "Structured output", _as_json),
    Feature("reasoning effort", _effort, "Reasoning", _more_room, reasoning=True),
    Feature("reasoning budget", _budget, "Reasoning", _more_room, reasoning=True),
    Feature("foreign reasoning in the history", _turn(THOUGHT, HI), "Reasoning", _turn(HI), reasoning=True),
    Feature("`temperature`", _set(temperature=0.5), "Options"),
    Feature("`top_p`", _set(top_p=0.5), "Options"),
    Feature("`top_k`", _set(top_k=5), "Options"),
    Feature("`stop`", _stop, "Options"),
    Feature("`seed`", _set(seed=7), "Options"),
    Feature("`frequency_penalty`", _set(frequency_penalty=0.5), "Options"),
    Feature("`presence_penalty`", _set(presence_penalty=0.5), "Options"),
    Feature("`logprobs`", _logprobs, "Options"),
    Feature("`service_tier`", _set(service_tier="default"), "Options", means_nothing_more=True),
    Feature("`end_user_id`", _set(end_user_id="user-7"), "Options"),
    Feature("cache marks", _cache, "Options"),
)
