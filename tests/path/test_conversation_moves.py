"""A conversation with tools, images and reasoning that is begun at one vendor goes on at another.

The providers check what they get as their vendors do: thoughts that they did not sign, calls that they do not know and
results without a call are refused.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from llmgateway.fold import fold
from llmgateway.v1 import completion_pb2, message_pb2, reply_pb2, tool_pb2
from llmgateway_server.providers.vendors import VENDORS
from llmgateway_server.testing.fake_provider import (
    FORMATS,
    FakeError,
    FakeProvider,
    FakeReasoning,
    FakeReply,
    FakeToolCall,
    Format,
)
from llmgateway_server.testing.gateway import RunningGateway, running_gateway
from tests.matrix.features import BYTES
from tests.path.provider_formats import VENDOR_OF

TEXT_ALONE: frozenset[Format] = frozenset({"bedrock_llama", "bedrock_text"})
"""Formats without tools and images."""
TALKING: tuple[Format, ...] = tuple(each for each in FORMATS if each not in TEXT_ALONE)
MOVES = [(one, other) for one, other in itertools.product(TALKING, TALKING) if one != other]
ABLE = ["STREAMING", "TOOLS", "PARALLEL_TOOLS", "VISION", "REASONING"]
SEAL = "c2lnbmVkLWJ5LXRoZS1maXJzdA=="
CALLS = (FakeToolCall("call_a1", "weather", '{"city":"Bern"}'), FakeToolCall("call_b2", "weather", '{"city":"Rome"}'))
FIRST = FakeReply.of(FakeReasoning("Two cities.", SEAL), "Let me look.", *CALLS)
ANSWER = FakeReply.of("It is warm in both.")


def model_of(format: Format) -> str:
    return f"at-{format}"


def account_of(format: Format) -> str:
    return f"account-{format}"


@asynccontextmanager
async def vendors(*formats: Format) -> AsyncIterator[tuple[RunningGateway, dict[Format, FakeProvider]]]:
    """A gateway with a provider and a model for each format, and the model `all` that has all of them, in order."""
    async with AsyncExitStack() as stack:
        fakes = {each: await stack.enter_async_context(FakeProvider()) for each in formats}
        accounts = {
            account_of(each): {**fakes[each].provider(VENDOR_OF[each]), "api_key": "sk-fake"} for each in formats
        }
        targets = {each: {"provider": account_of(each), "model": "fake-1", "dialect": each} for each in formats}
        models: dict[str, Any] = {model_of(each): {"targets": [targets[each]]} for each in formats}
        models["all"] = {"targets": [*targets.values()], "strategy": "priority", "capabilities": ABLE}
        async with running_gateway({"providers": accounts, "models": models}) as gateway:
            yield gateway, fakes


def asked(model: str, *messages: message_pb2.Message) -> completion_pb2.CompleteRequest:
    weather = tool_pb2.Tool(
        name="weather", parameters_json_schema='{"type":"object","properties":{"city":{"type":"string"}}}'
    )
    return completion_pb2.CompleteRequest(model=model, messages=messages, tools=[weather], max_output_tokens=4096)


def question() -> message_pb2.Message:
    picture = message_pb2.Media(mime_type="image/png", data=BYTES)
    return message_pb2.Message(
        role=message_pb2.ROLE_USER,
        parts=[message_pb2.Part(text="Where is it warm?"), message_pb2.Part(media=picture)],
    )


def results(reply: reply_pb2.CompleteResponse) -> message_pb2.Message:
    message = message_pb2.Message(role=message_pb2.ROLE_TOOL)
    for part in reply.parts:
        if part.HasField("tool_call"):
            result = message.parts.add().tool_result
            result.tool_call_id, result.name = part.tool_call.id, part.tool_call.name
            result.content.add(text=f"21 °C, as {part.tool_call.arguments_json} says")
    return message


async def begun(gateway: RunningGateway, fake: FakeProvider, format: Format) -> list[message_pb2.Message]:
    """Returns a conversation up to the results of two calls, with whatever the first vendor signed."""
    fake.then(FIRST)
    reply = await gateway.stub.Complete(asked(model_of(format), question()))
    assert [part.tool_call.name for part in reply.parts if part.HasField("tool_call")] == ["weather", "weather"]
    return [question(), message_pb2.Message(role=message_pb2.ROLE_ASSISTANT, parts=reply.parts), results(reply)]


def assert_goes_on(
    reply: reply_pb2.CompleteResponse, history: list[message_pb2.Message], format: Format, body: Any
) -> None:
    """Holds that the next vendor answers and gets calls, results and nothing of foreign state, which notices tell."""
    assert "".join(part.text for part in reply.parts) == "It is warm in both."
    for city in ("Bern", "Rome"):
        assert json.dumps(body, ensure_ascii=False).count(city) == 2, "in its call, and in its result"
    own = next(dialect.state_vendor for dialect in VENDORS[VENDOR_OF[format]].dialects if dialect.name == format)
    foreign = {
        f"messages[{m}].parts[{p}].provider_state"
        for m, message in enumerate(history)
        for p, part in enumerate(message.parts)
        if part.HasField("provider_state") and part.provider_state.vendor != own
    }
    told = {notice.subject for notice in reply.notices if notice.code == reply_pb2.NOTICE_CODE_PROVIDER_STATE_DROPPED}
    assert foreign <= told
    if foreign:
        assert SEAL not in json.dumps(body)


@pytest.mark.parametrize("one", TALKING)
async def test_it_goes_on_at_every_other_vendor(one: Format) -> None:
    async with vendors(*TALKING) as (gateway, fakes):
        history = await begun(gateway, fakes[one], one)
        for other in TALKING:
            if other == one:
                continue
            fakes[other].then(ANSWER)
            reply = await gateway.stub.Complete(asked(model_of(other), *history))
            assert_goes_on(reply, history, other, fakes[other].requests[-1].body)


@pytest.mark.parametrize("streaming", [False, True], ids=["unary", "stream"])
@pytest.mark.parametrize(("one", "other"), MOVES)
async def test_the_next_vendor_takes_over_where_the_first_fails(one: Format, other: Format, *, streaming: bool) -> None:
    async with vendors(one, other) as (gateway, fakes):
        history = await begun(gateway, fakes[one], one)
        fakes[one].then(FakeError(503))
        fakes[other].then(ANSWER)
        request = asked("all", *history)
        if streaming:
            events = [event async for message in gateway.stub.StreamComplete(request) for event in message.events]
            reply = fold(events)
        else:
            reply = await gateway.stub.Complete(request)
        assert [attempt.target.provider for attempt in reply.attempts] == [account_of(one), account_of(other)]
        assert_goes_on(reply, history, other, fakes[other].requests[-1].body)
