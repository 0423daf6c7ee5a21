"""What the fake refuses because the vendor does, and what it must not refuse; each fault is named by its place."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from llmgateway_server.testing.fake_provider import FakeError, FakeReasoning, FakeReply
from llmgateway_server.testing.fake_provider.checks import Asked, Memory, Refused
from llmgateway_server.testing.fake_provider.checks_anthropic import check_count, check_message
from llmgateway_server.testing.fake_provider.checks_openai import check_chat
from llmgateway_server.testing.fake_provider.checks_responses import check_response

Json = dict[str, Any]
OPEN = {"type": "object", "properties": {"a": {"type": "string"}}}
STRICT = {**OPEN, "required": ["a"], "additionalProperties": False}
HALF_STRICT = {**STRICT, "properties": {"a": {"type": "array", "items": OPEN}}}
USER = {"role": "user", "content": "Hi"}


def refusal(
    check: Callable[[Asked], None], body: Any, memory: Memory | None = None, **headers: str
) -> FakeError | None:
    given = {"authorization": "Bearer k", "x-api-key": "k", "anthropic-version": "2023-06-01"}
    given |= {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        check(Asked(given, body, memory or Memory()))
    except Refused as refused:
        return refused.error
    return None


# --- chat completions --------------------------------------------------------------------------------------------

CHAT_CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
CHAT_TURN = {"role": "assistant", "content": None, "tool_calls": [CHAT_CALL]}
CHAT_ANSWER = {"role": "tool", "tool_call_id": "c1", "content": "1"}
CHAT = {"model": "m", "messages": [USER]}


def chat_tool(**function: Any) -> Json:
    return {"type": "function", "function": {"name": "f", **function}}


def chat_schema(schema: Json) -> Json:
    return {"type": "json_schema", "json_schema": {"name": "s", "schema": schema, "strict": True}}


CHAT_FINE: dict[str, Json] = {
    "least": {},
    "most": {
        "messages": [
            {"role": "developer", "content": "Be kind."},
            {
                "role": "user",
                "content": [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "u"}}],
            },
            {"role": "assistant", "content": None, "tool_calls": [CHAT_CALL, {**CHAT_CALL, "id": "c2"}]},
            {**CHAT_ANSWER, "tool_call_id": "c2"},
            CHAT_ANSWER,
            {"role": "assistant", "content": None, "refusal": "No."},
        ],
        "tools": [chat_tool(parameters=STRICT, strict=True)],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "response_format": chat_schema(STRICT),
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": 2,
        "logprobs": True,
        "top_logprobs": 20,
        "stop": ["a", "b"],
        "seed": None,
    },
    "JSON": {"messages": [{"role": "user", "content": "As JSON"}], "response_format": {"type": "json_object"}},
}
CHAT_FAULTS: dict[str, tuple[Json, str]] = {
    "no model": ({"model": None}, "model"),
    "no messages": ({"messages": []}, "messages"),
    "unknown field": ({"top_k": 5}, "top_k"),
    "unknown role": ({"messages": [{"role": "robot", "content": "a"}]}, "messages[0].role"),
    "null content": ({"messages": [{"role": "user", "content": None}]}, "messages[0].content"),
    "unknown part": (
        {"messages": [{"role": "user", "content": [{"type": "tool_use"}]}]},
        "messages[0].content[0].type",
    ),
    "image of a tool": (
        {"messages": [USER, CHAT_TURN, {**CHAT_ANSWER, "content": [{"type": "image_url"}]}]},
        "messages[2].content[0].type",
    ),
    "call without name": (
        {"messages": [USER, {**CHAT_TURN, "tool_calls": [{"id": "c1"}]}]},
        "messages[1].tool_calls[0]",
    ),
    "answer to nothing": ({"messages": [USER, CHAT_ANSWER]}, "messages.[1].role"),
    "no answer": ({"messages": [USER, CHAT_TURN, USER]}, "messages.[2].role"),
    "no last answer": ({"messages": [USER, CHAT_TURN]}, "messages.[2].role"),
    "hot": ({"temperature": 2.1}, "temperature"),
    "no number": ({"temperature": True}, "temperature"),
    "two limits": ({"max_tokens": 1, "max_completion_tokens": 1}, "max_tokens"),
    "no tokens": ({"max_completion_tokens": 0}, "max_completion_tokens"),
    "top logprobs alone": ({"top_logprobs": 1}, "top_logprobs"),
    "many stops": ({"stop": list("abcde")}, "stop"),
    "options of no stream": ({"stream_options": {"include_usage": True}}, "stream_options"),
    "name of a tool": ({"tools": [chat_tool(name="a b")]}, "tools[0].function.name"),
    "open strict tool": ({"tools": [chat_tool(parameters=OPEN, strict=True)]}, "tools[0].function.parameters"),
    "list as parameters": ({"tools": [chat_tool(parameters={"type": "array"})]}, "tools[0].function.parameters"),
    "choice of nothing": ({"tool_choice": "auto"}, "tool_choice"),
    "choice of a stranger": (
        {"tools": [chat_tool()], "tool_choice": {"type": "function", "function": {"name": "g"}}},
        "tool_choice",
    ),
    "parallel calls of nothing": ({"parallel_tool_calls": True}, "parallel_tool_calls"),
    "open schema": ({"response_format": chat_schema(OPEN)}, "response_format"),
    "half-open schema": ({"response_format": chat_schema(HALF_STRICT)}, "response_format"),
    "unknown format": ({"response_format": {"type": "xml"}}, "response_format"),
    "JSON unsaid": ({"response_format": {"type": "json_object"}}, "messages"),
    "several choices": ({"n": 2}, "n"),
}


@pytest.mark.parametrize("name", CHAT_FINE)
def test_chat_serves(name: str) -> None:
    assert refusal(check_chat, {**CHAT, **CHAT_FINE[name]}) is None


@pytest.mark.parametrize("name", CHAT_FAULTS)
def test_chat_refuses(name: str) -> None:
    change, param = CHAT_FAULTS[name]
    error = refusal(check_chat, {**CHAT, **change})
    assert error is not None
    assert (error.status, error.type, error.param) == (400, "invalid_request_error", param)


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", "Basic abc"])
def test_openai_wants_a_bearer_token(header: str) -> None:
    error = refusal(check_chat, CHAT, authorization=header)
    assert error is not None
    assert error.status == 401


# --- responses ---------------------------------------------------------------------------------------------------

CALL_ITEM = {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"}
OUTPUT_ITEM = {"type": "function_call_output", "call_id": "c1", "output": "1"}
THOUGHT_ITEM = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "c2VhbA=="}
RESPONSE: Json = {"model": "m", "input": "Hi"}
RESPONSE_FINE: dict[str, Json] = {
    "least": {},
    "most": {
        "input": [
            USER,
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "a"}]},
            THOUGHT_ITEM,
            CALL_ITEM,
            OUTPUT_ITEM,
            {"role": "assistant", "content": [{"type": "output_text", "text": "a"}]},
        ],
        "include": ["reasoning.encrypted_content"],
        "tools": [{"type": "function", "name": "f", "parameters": STRICT, "strict": True}, {"type": "web_search"}],
        "tool_choice": {"type": "function", "name": "f"},
        "text": {"format": {"type": "json_schema", "name": "s", "schema": STRICT, "strict": True}},
        "reasoning": {"effort": "low", "summary": "auto"},
        "max_output_tokens": 16,
    },
    "choice of the vendor's tool": {"tools": [{"type": "web_search"}], "tool_choice": {"type": "web_search"}},
    "no choice": {"tool_choice": "auto"},
    "continued": {"previous_response_id": "resp_1", "input": [OUTPUT_ITEM]},
}
RESPONSE_FAULTS: dict[str, tuple[Json, str | None]] = {
    "no input": ({"input": None}, "input"),
    "no items": ({"input": []}, "input"),
    "unknown field": ({"stop": ["a"]}, "stop"),
    "few tokens": ({"max_output_tokens": 15}, "max_output_tokens"),
    "unknown include": ({"include": ["everything"]}, "include"),
    "unknown response": ({"previous_response_id": "resp_2"}, "previous_response_id"),
    "unknown item": ({"input": [{"type": "tool_use"}]}, "input[0].type"),
    "unknown role": ({"input": [{"role": "tool", "content": "a"}]}, "input[0].role"),
    "no content": ({"input": [{"role": "user"}]}, "input[0].content"),
    "input of the assistant": (
        {"input": [{"role": "assistant", "content": [{"type": "input_text", "text": "a"}]}]},
        "input[0].content[0].type",
    ),
    "call without arguments": ({"input": [{**CALL_ITEM, "arguments": {}}]}, "input[0]"),
    "call without output": ({"input": [USER, CALL_ITEM]}, "input"),
    "output without call": ({"input": [USER, OUTPUT_ITEM]}, "input"),
    "strange thought": ({"input": [{**THOUGHT_ITEM, "encrypted_content": "b3RoZXI="}, USER]}, None),
    "bare thought": ({"input": [{"type": "reasoning", "summary": []}, USER]}, "input[0]"),
    "thought at the end": ({"input": [USER, THOUGHT_ITEM]}, "input"),
    "nested tool": ({"tools": [chat_tool()]}, "tools[0].name"),
    "open strict tool": (
        {"tools": [{"type": "function", "name": "f", "parameters": OPEN, "strict": True}]},
        "tools[0].parameters",
    ),
    "tool of no type": ({"tools": [{"name": "f"}]}, "tools[0].type"),
    "choice of a stranger": (
        {"tools": [{"type": "web_search"}], "tool_choice": {"type": "function", "name": "g"}},
        "tool_choice",
    ),
    "unnamed schema": ({"text": {"format": {"type": "json_schema", "schema": STRICT}}}, "text.format.name"),
    "open schema": (
        {"text": {"format": {"type": "json_schema", "name": "s", "schema": OPEN, "strict": True}}},
        "text.format.schema",
    ),
    "unknown format": ({"text": {"format": {"type": "xml"}}}, "text.format"),
}


def memory() -> Memory:
    made = Memory(response_ids={"resp_1"})
    made.remember(FakeReply(parts=(FakeReasoning("Hm.", "c2VhbA=="), FakeReasoning(redacted_data="cmVk"))))
    return made


@pytest.mark.parametrize("name", RESPONSE_FINE)
def test_responses_serve(name: str) -> None:
    assert refusal(check_response, {**RESPONSE, **RESPONSE_FINE[name]}, memory()) is None


@pytest.mark.parametrize("name", RESPONSE_FAULTS)
def test_responses_refuse(name: str) -> None:
    change, param = RESPONSE_FAULTS[name]
    error = refusal(check_response, {**RESPONSE, **change}, memory())
    assert error is not None
    assert (error.status, error.param) == (400, param)


# --- messages ----------------------------------------------------------------------------------------------------

TOOL = {"name": "f", "input_schema": {"type": "object"}}
TOOL_USE = {"type": "tool_use", "id": "t1", "name": "f", "input": {}}
RESULT = {"type": "tool_result", "tool_use_id": "t1", "content": "1"}
THOUGHT = {"type": "thinking", "thinking": "Hm.", "signature": "c2VhbA=="}
REDACTED = {"type": "redacted_thinking", "data": "cmVk"}
MARK = {"type": "ephemeral"}
MESSAGE: Json = {"model": "m", "max_tokens": 2048, "messages": [USER]}
THINKING = {"type": "enabled", "budget_tokens": 1024}


def turns(*contents: Any) -> Json:
    """Returns messages of the user and the assistant in turn."""
    roles = ("user", "assistant")
    return {"messages": [{"role": roles[at % 2], "content": content} for at, content in enumerate(contents)]}


def marked(count: int, **more: Any) -> list[Json]:
    return [{"type": "text", "text": "a", "cache_control": {**MARK, **more}} for _ in range(count)]


MESSAGE_FINE: dict[str, Json] = {
    "least": {},
    "most": {
        **turns("Hi", [THOUGHT, REDACTED, TOOL_USE], [RESULT, {"type": "text", "text": "a"}], "Yes"),
        "system": marked(1, ttl="1h"),
        "thinking": THINKING,
        "tools": [
            {**TOOL, "cache_control": {**MARK, "ttl": "1h"}},
            {"type": "web_search_20250305", "name": "web_search"},
        ],
        "tool_choice": {"type": "auto"},
        "stop_sequences": ["\n\nHuman"],
        "metadata": {"user_id": "u"},
        "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": STRICT}},
        "stream": True,
    },
    "image": turns([{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "a"}}]),
    "adaptive": {"thinking": {"type": "adaptive"}, "temperature": 1},
    "long cache first": {"system": [*marked(1, ttl="1h"), *marked(3)]},
}
MESSAGE_FAULTS: dict[str, tuple[Json, str]] = {
    "no limit": ({"max_tokens": None}, "max_tokens"),
    "no tokens": ({"max_tokens": 0}, "max_tokens"),
    "no messages": ({"messages": []}, "messages"),
    "unknown field": ({"seed": 5}, "seed"),
    "field of a message": ({"messages": [{**USER, "name": "a"}]}, "messages.0.name"),
    "unknown role": ({"messages": [{"role": "tool", "content": "a"}]}, "messages.0.role"),
    "assistant first": ({"messages": [{"role": "assistant", "content": "a"}, USER]}, "messages:"),
    "empty content": (turns(""), "messages.0"),
    "blank text": (turns([{"type": "text", "text": " "}]), "messages.0.content.0.text"),
    "unknown block": (turns([{"type": "image_url"}]), "messages.0.content.0.type"),
    "thinking of the user": (turns([THOUGHT]), "messages.0.content.0.type"),
    "image of no kind": (
        turns([{"type": "image", "source": {"type": "base64", "media_type": "image/tiff"}}]),
        "messages.0.content.0.source.media_type",
    ),
    "source of no kind": (turns([{"type": "document", "source": {"type": "ftp"}}]), "messages.0.content.0.source"),
    "call without input": (turns("Hi", [{**TOOL_USE, "input": "{}"}], [RESULT]), "messages.1.content.0.tool_use"),
    "result of no kind": (
        turns("Hi", [TOOL_USE], [{**RESULT, "content": [{"type": "audio"}]}]),
        "messages.2.content.0.tool_result",
    ),
    "blanks at the end": (turns("Hi", "Well, "), "messages:"),
    "no result": (turns("Hi", [TOOL_USE], "Hi"), "messages.2: tool_use"),
    "no last result": (turns("Hi", [TOOL_USE]), "messages.1: tool_use"),
    "half of the results": (turns("Hi", [TOOL_USE, {**TOOL_USE, "id": "t2"}], [RESULT]), "messages.2: tool_use"),
    "result of nothing": (turns("Hi", "Yes", [RESULT]), "messages.2: tool_result"),
    "result behind a text": (turns("Hi", [TOOL_USE], [{"type": "text", "text": "a"}, RESULT]), "messages.2"),
    "changed thought": (turns("Hi", [{**THOUGHT, "thinking": "Ha."}, TOOL_USE], [RESULT]), "messages.1.content.0"),
    "unsigned thought": (turns("Hi", [{**THOUGHT, "signature": ""}], "Hi"), "messages.1.content.0"),
    "strange redaction": (turns("Hi", [{**REDACTED, "data": "eA=="}], "Hi"), "messages.1.content.0"),
    "lost thought": ({**turns("Hi", [TOOL_USE], [RESULT]), "thinking": THINKING}, "messages"),
    "small budget": ({"thinking": {**THINKING, "budget_tokens": 1023}}, "thinking.enabled.budget_tokens"),
    "large budget": ({"thinking": {**THINKING, "budget_tokens": 2048}}, "max_tokens"),
    "no budget": ({"thinking": {"type": "enabled"}}, "thinking"),
    "hot thoughts": ({"thinking": THINKING, "temperature": 0.5}, "temperature"),
    "top_k and thoughts": ({"thinking": THINKING, "top_k": 5}, "top_k"),
    "top_p and thoughts": ({"thinking": THINKING, "top_p": 0.5}, "top_p"),
    "forced thoughts": ({"thinking": THINKING, "tools": [TOOL], "tool_choice": {"type": "any"}}, "tool_choice"),
    "hot": ({"temperature": 1.1}, "temperature"),
    "null system": ({"system": None}, "system"),
    "empty system": ({"system": [{"type": "text", "text": ""}]}, "system.0"),
    "blank stop": ({"stop_sequences": [" "]}, "stop_sequences.0"),
    "other metadata": ({"metadata": {"name": "a"}}, "metadata.name"),
    "effort": ({"output_config": {"effort": "some"}}, "output_config.effort"),
    "open format": ({"output_config": {"format": {"type": "json_schema", "schema": OPEN}}}, "output_config.format"),
    "name of a tool": ({"tools": [{**TOOL, "name": "a b"}]}, "tools.0.custom.name"),
    "tool without schema": ({"tools": [{"name": "f"}]}, "tools.0.custom.input_schema"),
    "tools of one name": ({"tools": [TOOL, TOOL]}, "tools"),
    "choice of nothing": ({"tool_choice": {"type": "auto"}}, "tool_choice"),
    "choice of a stranger": ({"tools": [TOOL], "tool_choice": {"type": "tool", "name": "g"}}, "tool_choice.name"),
    "five marks": ({"system": marked(5)}, "cache_control"),
    "unknown lifetime": ({"system": marked(1, ttl="2h")}, "cache_control"),
    "short cache first": ({"system": [*marked(1), *marked(1, ttl="1h")]}, "cache_control.ttl"),
}


@pytest.mark.parametrize("name", MESSAGE_FINE)
def test_messages_serve(name: str) -> None:
    assert refusal(check_message, {**MESSAGE, **MESSAGE_FINE[name]}, memory()) is None


@pytest.mark.parametrize("name", MESSAGE_FAULTS)
def test_messages_refuse(name: str) -> None:
    change, place = MESSAGE_FAULTS[name]
    body = {**MESSAGE, **change}
    before = copy.deepcopy(body)
    error = refusal(check_message, body, memory())
    assert error is not None
    assert (error.status, error.type) == (400, "invalid_request_error")
    assert error.message.startswith(place)
    assert body == before


def test_anthropic_wants_a_key_and_a_version() -> None:
    keyless = refusal(check_message, MESSAGE, x_api_key="", authorization="")
    assert keyless is not None
    assert (keyless.status, keyless.type) == (401, "authentication_error")
    unversioned = refusal(check_message, MESSAGE, anthropic_version="")
    assert unversioned is not None
    assert unversioned.message.startswith("anthropic-version")
    assert refusal(check_message, MESSAGE, x_api_key="") is None  # a bearer token is a key, too


def test_a_token_count_has_no_limit() -> None:
    assert refusal(check_count, {"model": "m", "messages": [USER]}) is None
    error = refusal(check_count, MESSAGE)
    assert error is not None
    assert error.message.startswith("max_tokens")


@pytest.mark.parametrize("check", [check_chat, check_response, check_message, check_count])
@pytest.mark.parametrize("body", [b"{", [], "text", None, 1])
def test_a_body_is_an_object(check: Callable[[Asked], None], body: Any) -> None:
    error = refusal(check, body)
    assert error is not None
    assert error.status == 400
