from __future__ import annotations

import json
from typing import Any

import pytest

from llmgateway import Reply, ToolCall, media
from llmgateway.requests import CompleteOptions, complete_request, embed_request, metrics_request
from llmgateway.v1 import completion_pb2, embedding_pb2, message_pb2, reply_pb2, status_pb2, tool_pb2

Message, Part = message_pb2.Message, message_pb2.Part
USER, ASSISTANT, TOOL = message_pb2.ROLE_USER, message_pb2.ROLE_ASSISTANT, message_pb2.ROLE_TOOL
HI = Message(role=USER, parts=[Part(text="Hi")])
SCHEMA = {"type": "object", "title": "A city!", "properties": {"name": {"type": "string"}}}


class City:
    """As pydantic's models: a class that knows its schema."""

    @classmethod
    def model_json_schema(cls) -> dict[str, Any]:
        return SCHEMA


def built(given: Any = "Hi", **options: Any) -> completion_pb2.CompleteRequest:
    return complete_request("m", given, options=options)  # type: ignore[arg-type]  # bad ones are tried too


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("Hi", [HI]),
        (HI, [HI]),
        ([HI, "Hi"], [HI, HI]),
        (("user", "Hi"), [HI]),
        ([("user", "Hi"), ("assistant", "Yes")], [HI, Message(role=ASSISTANT, parts=[Part(text="Yes")])]),
        ({"role": "user", "content": "Hi"}, [HI]),
        ({"role": "user", "content": ["Hi"], "name": "ann"}, [Message(role=USER, parts=[Part(text="Hi")], name="ann")]),
        (("user", [Part(text="Hi")]), [HI]),
        (("user", Part(text="Hi")), [HI]),
        ((each for each in ["Hi"]), [HI]),
        (
            Reply(reply_pb2.CompleteResponse(parts=[Part(text="Yes")])),
            [Message(role=ASSISTANT, parts=[Part(text="Yes")])],
        ),
        ({"role": "assistant", "content": None}, [Message(role=ASSISTANT)]),
        (
            {"role": "assistant", "tool_calls": [{"id": "c", "name": "t", "arguments": {"a": 1}}]},
            [
                Message(
                    role=ASSISTANT,
                    parts=[Part(tool_call=message_pb2.ToolCall(id="c", name="t", arguments_json='{"a": 1}'))],
                )
            ],
        ),
        (
            {"role": "tool", "tool_call_id": "c", "name": "t", "content": "42", "is_error": True},
            [ToolCall("c", "t", "").result("42", is_error=True)],
        ),
        (
            {"role": "tool", "tool_call_id": "c", "content": [media(uri="https://x/y.png")]},
            [
                ToolCall("c", "", "").result(
                    [message_pb2.ToolResultContent(media=message_pb2.Media(uri="https://x/y.png"))]
                )
            ],
        ),
        ((), []),
    ],
)
def test_messages(given: Any, wanted: list[message_pb2.Message]) -> None:
    assert list(built(given).messages) == wanted


@pytest.mark.parametrize(
    ("given", "kind", "words"),
    [
        (("assistent", "secret"), ValueError, "no such role"),
        ({"content": "secret"}, ValueError, "needs a role"),
        ({"role": "user", "content": "secret", "tool_calls": []}, ValueError, "has no tool_calls"),
        ({"role": "tool", "content": "secret"}, ValueError, "needs a tool_call_id"),
        ([7], TypeError, "int cannot be a message"),
        (("user", [7]), TypeError, "int cannot be a part"),
    ],
)
def test_what_is_no_message(given: Any, kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words) as caught:
        built(given)
    assert "secret" not in str(caught.value)


def test_media() -> None:
    assert media(data=b"x", mime_type="image/png").media.data == b"x"
    for bad in ({}, {"data": b"x", "uri": "u"}, {"data": b"x"}):
        with pytest.raises(ValueError, match="data"):
            media(**bad)


def test_system_comes_first() -> None:
    request = built([("user", "Hi")], system="Be brief.")
    assert [message.role for message in request.messages] == [message_pb2.ROLE_SYSTEM, USER]


def test_plain_options() -> None:
    request = built(temperature=0.0, top_p=0.5, seed=7, max_output_tokens=9, limits={"max_latency_ms": 5})
    assert request.HasField("temperature")
    assert (request.temperature, request.top_p, request.seed, request.max_output_tokens) == (0.0, 0.5, 7, 9)
    assert request.limits.max_latency_ms == 5
    assert not built(temperature=None).HasField("temperature")


@pytest.mark.parametrize(
    ("options", "field", "wanted"),
    [
        ({"tool_choice": "required"}, "tool_choice", tool_pb2.ToolChoice(mode=tool_pb2.TOOL_CHOICE_MODE_REQUIRED)),
        ({"tool_choice": "t"}, "tool_choice", tool_pb2.ToolChoice(mode=tool_pb2.TOOL_CHOICE_MODE_NAMED, name="t")),
        (
            {"reasoning": "low"},
            "reasoning",
            completion_pb2.ReasoningOptions(effort=completion_pb2.REASONING_EFFORT_LOW),
        ),
        ({"reasoning": 0}, "reasoning", completion_pb2.ReasoningOptions(budget_token_count=0)),
        ({"logprobs": 2}, "logprobs", completion_pb2.LogprobsOptions(top_count=2)),
        ({"stop": "x"}, "stop", ["x"]),
        ({"priority": "batch"}, "priority", completion_pb2.PRIORITY_BATCH),
        ({"unsupported_options": "drop"}, "unsupported_options", completion_pb2.UNSUPPORTED_OPTION_POLICY_DROP),
        (
            {"response_format": "json"},
            "response_format",
            tool_pb2.ResponseFormat(json_object=tool_pb2.JsonObjectFormat()),
        ),
        ({"response_format": "text"}, "response_format", tool_pb2.ResponseFormat(text=tool_pb2.TextFormat())),
    ],
)
def test_what_is_accepted_in_place_of_a_proto(options: dict[str, Any], field: str, wanted: object) -> None:
    assert getattr(built(**options), field) == wanted
    assert getattr(built(**{field: wanted}), field) == wanted


@pytest.mark.parametrize("given", [SCHEMA, City, City()])
def test_a_schema(given: Any) -> None:
    found = built(response_format=given).response_format.json_schema
    assert (found.name, json.loads(found.schema_json)) == ("A_city", SCHEMA)
    assert built(response_format={}).response_format.json_schema.name == "response"


def test_tools() -> None:
    ready = tool_pb2.Tool(name="a")
    full = {"name": "b", "description": "d", "parameters": City, "strict": True, "cache_breakpoint": True}
    request = built(tools=[ready, {"name": "c"}, full])
    assert request.tools[0] == ready
    assert not request.tools[1].HasField("strict")
    found = request.tools[2]
    assert (found.name, found.description, found.strict, found.cache_breakpoint) == ("b", "d", True, True)
    assert json.loads(found.parameters_json_schema) == SCHEMA


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({"temprature": 1.0}, TypeError),
        ({"temperature": "hot"}, TypeError),
        ({"tools": [{"nam": "a"}]}, ValueError),
        ({"tools": [{"description": "a"}]}, ValueError),
        ({"tools": ["a"]}, TypeError),
        ({"response_format": "yaml"}, ValueError),
        ({"response_format": 7}, TypeError),
        ({"reasoning": "hard"}, ValueError),
        ({"priority": "now"}, ValueError),
    ],
)
def test_what_is_no_option(options: dict[str, Any], kind: type[Exception]) -> None:
    with pytest.raises(kind):
        built(**options)


def test_every_field_of_a_request_can_be_asked_for() -> None:
    fields = {field.name for field in completion_pb2.CompleteRequest.DESCRIPTOR.fields}
    assert fields - {"model", "messages"} == CompleteOptions.__annotations__.keys() - {"system"}


def test_a_whole_request_is_sent_as_it_is() -> None:
    whole = completion_pb2.CompleteRequest(model="m", messages=[HI])
    assert complete_request(request=whole, options={}) is whole
    with pytest.raises(ValueError, match="as it is"):
        complete_request("m", request=whole, options={})
    with pytest.raises(ValueError, match="as it is"):
        complete_request(request=whole, options={"temperature": 1.0})


def test_other_requests() -> None:
    embed = embed_request("m", "a", dimensions=None, purpose="query")
    assert (list(embed.inputs), embed.HasField("dimensions")) == (["a"], False)
    assert embed.purpose == embedding_pb2.EMBEDDING_PURPOSE_QUERY
    assert metrics_request("p", "day").period == status_pb2.METRICS_PERIOD_DAY
    assert metrics_request("", None).period == status_pb2.METRICS_PERIOD_UNSPECIFIED
