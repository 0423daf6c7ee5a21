"""The fake's chat of Cohere, judged by Cohere's own client and types: a stream adds up to the unary answer."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import AsyncIterator
from typing import Any

import cohere
import httpx
import pydantic
import pytest
from cohere.core import ApiError
from cohere.v2.types import V2ChatResponse, V2ChatStreamResponse

from llmgateway_server.testing.fake_provider import FakeError, FakeProvider, FakeReply, cohere_chat, cuts
from llmgateway_server.testing.fake_provider.checks import Asked, Memory, Refused
from llmgateway_server.testing.fake_provider.checks_cohere import check_chat
from tests.contract.fake_replies import ASKED, MODEL, REPLIES, REQUESTS

Json = dict[str, Any]

REQUEST = REQUESTS["cohere_chat"]
CUTS = {
    "whole": cuts.whole,
    "one byte": cuts.one_byte,
    "inside utf-8": cuts.inside_utf8,
    "inside line ends": cuts.inside_line_ends,
    "random": cuts.seeded(5),
}
STREAMED: pydantic.TypeAdapter[Any] = pydantic.TypeAdapter(V2ChatStreamResponse)


@contextlib.asynccontextmanager
async def cohere_client(fake: FakeProvider, api_key: str = "key") -> AsyncIterator[cohere.AsyncClientV2]:
    async with httpx.AsyncClient(trust_env=False) as web:
        yield cohere.AsyncClientV2(api_key, base_url=fake.root_url, httpx_client=web, max_retries=0)


def seen(value: Any) -> Any:
    return value.model_dump(exclude_none=True)


async def both(client: cohere.AsyncClientV2, request: Json) -> tuple[Json, Json]:
    """Returns the whole answer, and what the events of the streamed one add up to."""
    unary = seen(await client.chat(**request))
    message: Json = {"role": "assistant"}
    streamed: Json = {"message": message}
    async for event in client.chat_stream(**request):
        _add(streamed, message, seen(event))
    return unary, streamed


def _add(streamed: Json, message: Json, event: Json) -> None:
    said = event.get("delta", {}).get("message", {})
    match event["type"]:
        case "message-start":
            streamed["id"] = event["id"]
        case "content-start":
            message.setdefault("content", []).append(said["content"])
            assert event["index"] == len(message["content"]) - 1
        case "content-delta":
            [(field, piece)] = said["content"].items()
            message["content"][event["index"]][field] += piece
        case "tool-plan-delta":
            message["tool_plan"] = message.get("tool_plan", "") + said["tool_plan"]
        case "tool-call-start":
            message.setdefault("tool_calls", []).append(said["tool_calls"])
        case "tool-call-delta":
            function = message["tool_calls"][event["index"]]["function"]
            function["arguments"] += said["tool_calls"]["function"]["arguments"]
        case "citation-start":
            message.setdefault("citations", []).append(said["citations"])
        case "message-end":
            streamed.update(event["delta"])


@pytest.mark.parametrize("name", REPLIES)
async def test_stream_and_unary_agree(name: str) -> None:
    async with FakeProvider() as fake, cohere_client(fake) as client:
        fake.then(REPLIES[name], REPLIES[name])
        unary, streamed = await both(client, REQUEST)
    assert unary == streamed
    assert unary["finish_reason"] == cohere_chat.FINISHES[REPLIES[name].ends]


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("name", ["every width", "line ends", "text and calls", "documents", "plan"])
async def test_cuts_change_nothing(name: str, cut: str) -> None:
    async with FakeProvider(cut=CUTS[cut]) as fake, cohere_client(fake) as client:
        fake.then(REPLIES[name], REPLIES[name])
        unary, streamed = await both(client, REQUEST)
    assert unary == streamed


@pytest.mark.parametrize("name", REPLIES)
def test_the_client_s_types_hold_all_of_it(name: str) -> None:
    """The client itself does not check what it reads; its types can."""
    body = cohere_chat.body(REPLIES[name], REQUEST)
    assert V2ChatResponse.model_validate(body).model_dump(exclude_unset=True) == body
    for frame in cohere_chat.frames(REPLIES[name], REQUEST)[:-1]:
        head, data = frame.decode().rstrip("\n").split("\ndata: ")
        event = pydantic.TypeAdapter(dict[str, Any]).validate_json(data)
        assert head == f"event: {event['type']}"
        assert STREAMED.validate_python(event).type == event["type"]


async def test_an_answer_is_what_the_script_says() -> None:
    async with FakeProvider() as fake, cohere_client(fake) as client:
        fake.then(REPLIES["plan"], REPLIES["text and calls"], REPLIES["documents"], REPLIES["usage"])
        planned, called, cited, counted = [await client.chat(**REQUEST) for _ in range(4)]
    assert (planned.message.tool_plan, planned.message.content) == ("I will look it up.", None)
    assert [block.type for block in called.message.content or ()] == ["thinking", "text"]
    assert [call.function.name for call in called.message.tool_calls or () if call.function] == [
        "weather",
        "weather",
        "now",
    ]
    sources = [source for each in cited.message.citations or () for source in each.sources or ()]
    assert [source.document for source in sources if source.type == "document"] == [
        {"id": "doc:0", "title": "Handbook", "snippet": "Be kind."},
        {"id": "doc:1", "title": "A page", "snippet": "It is 21 °C.", "url": "https://example.com/a?b=c&d=é"},
    ]
    assert counted.usage is not None
    assert counted.usage.tokens is not None
    assert (counted.usage.tokens.input_tokens, counted.usage.cached_tokens) == (1000, 300)


async def test_a_model_thinks_unless_it_is_told_not_to() -> None:
    async with FakeProvider() as fake, cohere_client(fake) as client:
        fake.then(REPLIES["reasoning"])
        answer = await client.chat(**REQUEST, thinking=cohere.Thinking(type="disabled"))
    assert [block.type for block in answer.message.content or ()] == ["text"]


ERRORS: dict[int, type[ApiError]] = {
    400: cohere.BadRequestError,
    401: cohere.UnauthorizedError,
    402: ApiError,
    403: cohere.ForbiddenError,
    404: cohere.NotFoundError,
    422: cohere.UnprocessableEntityError,
    429: cohere.TooManyRequestsError,
    498: cohere.InvalidTokenError,
    499: cohere.ClientClosedRequestError,
    500: cohere.InternalServerError,
    503: cohere.ServiceUnavailableError,
    504: cohere.GatewayTimeoutError,
}


@pytest.mark.parametrize("status", ERRORS)
async def test_errors_are_what_the_client_takes_them_for(status: int) -> None:
    async with FakeProvider() as fake, cohere_client(fake) as client:
        fake.then(FakeError(status, message="No."))
        with pytest.raises(ERRORS[status]) as raised:
            await client.chat(**REQUEST, request_options={"max_retries": 0})
    assert raised.value.status_code == status
    assert raised.value.body == {"id": "req_fake1", "message": "No."}


@pytest.mark.parametrize(("status", "reason"), [(500, "ERROR"), (504, "TIMEOUT")])
async def test_an_error_inside_a_stream(status: int, reason: str) -> None:
    async with FakeProvider() as fake, cohere_client(fake) as client:
        fake.then(FakeError(status, message="No.", in_stream_after=3, reply=FakeReply.of("Hello there")))
        events = [seen(event) async for event in client.chat_stream(**REQUEST)]
    assert [event["type"] for event in events] == ["message-start", "content-start", "content-delta", "message-end"]
    assert events[-1]["delta"] == {"error": "No.", "finish_reason": reason}


# --- what is refused ---------------------------------------------------------------------------------------------

USER = {"role": "user", "content": "Hi"}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
IMAGE = {"type": "image_url", "image_url": {"url": "u"}}
CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
TURN = {"role": "assistant", "tool_calls": [CALL], "tool_plan": "So."}
ANSWER = {"role": "tool", "tool_call_id": "c", "content": "1"}
FINE: dict[str, Json] = {
    "least": {},
    "most": {
        "messages": [
            {"role": "system", "content": "Be kind."},
            {"role": "user", "content": [{"type": "text", "text": "a"}, IMAGE]},
            {"role": "assistant", "content": [{"type": "thinking", "thinking": "Hm"}, {"type": "text", "text": "a"}]},
            USER,
            TURN,
            {**ANSWER, "content": [{"type": "document", "document": {"data": {}}}]},
        ],
        "tools": [TOOL],
        "strict_tools": True,
        "tool_choice": "REQUIRED",
        "documents": ["a"],
        "citation_options": {"mode": "OFF"},
        "safety_mode": "STRICT",
        "max_tokens": 1,
        "stop_sequences": list("abcde"),
        "temperature": 0,
        "seed": 0,
        "frequency_penalty": 1,
        "presence_penalty": 0,
        "k": 500,
        "p": 0.99,
        "logprobs": True,
        "thinking": {"type": "enabled", "token_budget": 1},
        "priority": 1,
        "stream": True,
    },
    "json": {"response_format": {"type": "json_object", "json_schema": {}}, "thinking": {"type": "disabled"}},
    "text": {"response_format": {"type": "text"}, "tools": [TOOL], "citation_options": {}},
}
FAULTS: dict[str, tuple[Json, int]] = {
    "no model": ({"model": None}, 400),
    "no messages": ({"messages": []}, 400),
    "unknown field": ({"top_p": 0.5}, 422),
    "role": ({"messages": [{"role": "developer", "content": "a"}]}, 400),
    "empty message": ({"messages": [{"role": "user", "content": ""}]}, 400),
    "empty block": ({"messages": [{"role": "user", "content": [{"type": "text", "text": ""}]}]}, 400),
    "unknown block": ({"messages": [{"role": "user", "content": [{"type": "thinking", "thinking": "a"}]}]}, 400),
    "content": ({"messages": [{"role": "user", "content": 5}]}, 400),
    "image without address": (
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": ""}}]}]},
        400,
    ),
    "arguments": ({"messages": [USER, {**TURN, "tool_calls": [{**CALL, "id": ""}]}]}, 400),
    "result of nothing": ({"messages": [USER, ANSWER]}, 400),
    "stops": ({"stop_sequences": list("abcdef")}, 400),
    "p": ({"p": 1}, 400),
    "k": ({"k": 501}, 400),
    "penalty": ({"presence_penalty": -1}, 400),
    "choice of nothing": ({"tool_choice": "REQUIRED"}, 400),
    "choice": ({"tool_choice": "AUTO", "tools": [TOOL]}, 400),
    "tool": ({"tools": [{"type": "function", "function": {"name": "f", "parameters": None}}]}, 400),
    "form beside tools": ({"response_format": {"type": "json_object"}, "tools": [TOOL]}, 400),
    "form beside documents": ({"response_format": {"type": "json_object"}, "documents": ["a"]}, 400),
    "form": ({"response_format": {"type": "json_schema"}}, 400),
    "no form": ({"response_format": {}}, 400),
    "thinking": ({"thinking": {"type": "maybe"}}, 400),
    "budget": ({"thinking": {"type": "enabled", "token_budget": 0}}, 400),
    "citations": ({"citation_options": {"mode": "SLOW"}}, 400),
    "safety": ({"safety_mode": "NONE"}, 400),
}


def refusal(more: Any, headers: dict[str, str] | None = None, **given: Any) -> int | None:
    """Returns the status with which a request is refused."""
    body = {"model": "m", "messages": [USER], **copy.deepcopy(more)} if isinstance(more, dict) else more
    try:
        check_chat(Asked({"authorization": "Bearer k"} if headers is None else headers, body, Memory(), **given))
    except Refused as refused:
        return refused.error.status
    return None


@pytest.mark.parametrize("name", FINE)
def test_what_is_fine(name: str) -> None:
    assert refusal(FINE[name]) is None


@pytest.mark.parametrize("name", FAULTS)
def test_what_is_wrong(name: str) -> None:
    more, status = FAULTS[name]
    assert refusal(more) == status


def test_keys_models_and_bodies() -> None:
    assert refusal({}, headers={}) == 401
    assert refusal({}, api_key="other") == 401
    assert refusal({}, models=("n",)) == 404
    assert refusal([]) == 400


async def test_a_wrong_key_is_refused_in_the_vendor_s_shape() -> None:
    async with FakeProvider(api_key="right") as fake, cohere_client(fake, "wrong") as client:
        with pytest.raises(cohere.UnauthorizedError):
            await client.chat(model=MODEL, messages=ASKED)
