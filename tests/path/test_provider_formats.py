"""Every reply that the fake provider knows, in every wire format, through a whole gateway.

Whole and streamed they are the same reply, it says what the provider said, and it can be sent back.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from llmgateway.fold import fold
from llmgateway.v1 import completion_pb2, message_pb2, reply_pb2, tool_pb2, usage_pb2
from llmgateway_server.testing.fake_provider import (
    FORMATS,
    FakeProvider,
    FakeReasoning,
    FakeRefusal,
    FakeReply,
    FakeServerTool,
    FakeText,
    FakeToolCall,
    FakeUsage,
    Format,
    cuts,
    plays,
)
from llmgateway_server.testing.gateway import RunningGateway, running_gateway
from tests.contract.fake_replies import REPLIES

VENDORS: dict[Format, str] = {
    "openai_chat": "openai",
    "openai_responses": "openai",
    "anthropic_messages": "anthropic",
    "bedrock_converse": "bedrock",
    "bedrock_llama": "bedrock",
    "ollama_chat": "ollama",
    "cohere_chat": "cohere",
    "gemini": "google",
}
WITHOUT_ID: set[Format] = {"bedrock_converse", "bedrock_llama", "ollama_chat"}
WITHOUT_MODEL: set[Format] = {"bedrock_converse", "bedrock_llama", "cohere_chat"}
"""Formats whose answers do not name themselves, and not the model that gave them."""
WITHOUT_STATE: set[Format] = {"ollama_chat"}
"""Formats whose reasoning goes back as the text that it is."""
WITHOUT_ZEROS: set[Format] = {"ollama_chat"}
"""Formats that leave out counts of 0."""
FINISHES = {
    "stop": reply_pb2.FINISH_REASON_STOP,
    "length": reply_pb2.FINISH_REASON_LENGTH,
    "tool_calls": reply_pb2.FINISH_REASON_TOOL_CALLS,
    "content_filter": reply_pb2.FINISH_REASON_CONTENT_FILTER,
    "refusal": reply_pb2.FINISH_REASON_REFUSAL,
    "stop_sequence": reply_pb2.FINISH_REASON_STOP_SEQUENCE,
    "pause": reply_pb2.FINISH_REASON_PAUSE,
}
CASES = list(itertools.product(FORMATS, REPLIES))


def user(text: str) -> message_pb2.Message:
    return message_pb2.Message(role=message_pb2.ROLE_USER, parts=[message_pb2.Part(text=text)])


def ask(*messages: message_pb2.Message) -> completion_pb2.CompleteRequest:
    """Asks for everything that a vendor shows only to those who ask."""
    tools = [tool_pb2.Tool(name=name, parameters_json_schema='{"type":"object"}') for name in ("weather", "now")]
    request = completion_pb2.CompleteRequest(model="fake", messages=messages, tools=tools, max_output_tokens=4096)
    request.unsupported_options = completion_pb2.UNSUPPORTED_OPTION_POLICY_DROP
    request.logprobs.top_count = 2
    request.reasoning.include_text = True
    return request


@asynccontextmanager
async def gateway_for(fake: FakeProvider, format: Format) -> AsyncIterator[RunningGateway]:
    target = {"provider": "fake", "model": "fake-1", "dialect": format}
    settings: dict[str, Any] = {
        "providers": {"fake": fake.provider(VENDORS[format]) | {"api_key": "sk-fake"}},
        "models": {"fake": {"targets": [target]}},
    }
    async with running_gateway(settings) as gateway:
        yield gateway


def comparable(reply: reply_pb2.CompleteResponse) -> reply_pb2.CompleteResponse:
    """Returns the reply without what differs from call to call; arguments as JSON, which vendors write with blanks."""
    same = reply_pb2.CompleteResponse()
    same.CopyFrom(reply)
    if same.response_id == same.call_id:  # the vendor gave none
        same.ClearField("response_id")
    for name in ("call_id", "timings", "attempts", "trace", "effective_settings"):
        same.ClearField(name)
    for part in same.parts:
        if part.HasField("tool_call"):
            part.tool_call.arguments_json = normalised(part.tool_call.arguments_json)
    return same


def normalised(arguments: str) -> str:
    return json.dumps(json.loads(arguments or "{}"), sort_keys=True)


async def streamed(gateway: RunningGateway, request: completion_pb2.CompleteRequest) -> reply_pb2.CompleteResponse:
    return fold([event async for message in gateway.stub.StreamComplete(request) for event in message.events])


@pytest.mark.parametrize(("format", "name"), CASES)
async def test_a_reply_is_the_same_whole_and_streamed(format: Format, name: str) -> None:
    reply = REPLIES[name]
    async with FakeProvider() as fake, gateway_for(fake, format) as gateway:
        fake.then(reply)
        whole = await gateway.stub.Complete(ask(user("Hi")))
        for cut in (cuts.whole, cuts.inside_line_ends, cuts.inside_utf8, cuts.seeded(1)):
            fake.cut = cut
            fake.then(reply)
            assert comparable(await streamed(gateway, ask(user("Hi")))) == comparable(whole)
    assert_says(whole, reply, format)


def assert_says(found: reply_pb2.CompleteResponse, reply: FakeReply, format: Format) -> None:
    """Holds a reply against what the provider was told to say, as far as the format has words for it."""
    assert found.response_id == (found.call_id if format in WITHOUT_ID else reply.response_id)
    assert found.provider_model == ("" if format in WITHOUT_MODEL else reply.model or "fake-1")
    assert text_of(found) == "".join(part.text for part in reply.parts if isinstance(part, FakeText))
    calls = [part for part in reply.parts if isinstance(part, FakeToolCall) and plays("tool calls", format)]
    assert [(part.tool_call.id, part.tool_call.name) for part in found.parts if part.HasField("tool_call")] == [
        (part.id, part.name) for part in calls
    ]
    assert [normalised(part.tool_call.arguments_json) for part in found.parts if part.HasField("tool_call")] == [
        normalised(part.arguments_json) for part in calls
    ]
    if plays("reasoning text", format):
        thoughts = [
            part
            for part in reply.parts
            if isinstance(part, FakeReasoning) and (plays("redacted reasoning", format) or not part.redacted_data)
        ]
        reasoning = [part for part in found.parts if part.HasField("reasoning")]
        assert [part.reasoning.text for part in reasoning] == [part.text for part in thoughts]
        assert [part.reasoning.redacted for part in reasoning] == [bool(part.redacted_data) for part in thoughts]
        assert all(part.provider_state.data for part in reasoning) or format in WITHOUT_STATE
    if plays("refusal text", format) and format != "anthropic_messages":
        said = "".join(part.text for part in reply.parts if isinstance(part, FakeRefusal))
        assert "".join(part.refusal.text for part in found.parts) == said
    if plays("citations of pages", format):
        cited = [each for part in reply.parts if isinstance(part, FakeText) for each in part.citations]
        expected = [each.title for each in cited if each.uri or plays("citations of documents", format)]
        assert [each.title for part in found.parts for each in part.citations] == expected
    if plays("logprobs", format):
        tokens = [each for part in reply.parts if isinstance(part, FakeText) for each in part.logprobs]
        assert [(each.token, each.logprob) for each in found.logprobs] == [
            (each.token, each.logprob) for each in tokens
        ]
    assert_finish(found, reply, format)
    assert_usage(found.usage, reply, format)


def text_of(found: reply_pb2.CompleteResponse) -> str:
    return "".join(part.text for part in found.parts)


def assert_finish(found: reply_pb2.CompleteResponse, reply: FakeReply, format: Format) -> None:
    calls = plays("tool calls", format) and any(isinstance(part, FakeToolCall) for part in reply.parts)
    if reply.ends in ("stop", "tool_calls"):
        assert found.finish_reason == FINISHES["tool_calls" if calls else "stop"]
    elif plays(f"finish {reply.ends}", format) and not (format == "anthropic_messages" and "content" in reply.ends):
        assert found.finish_reason == FINISHES[reply.ends]
    assert found.provider_finish_reason


def assert_usage(found: usage_pb2.Usage, reply: FakeReply, format: Format) -> None:
    told = reply.usage
    if format in WITHOUT_ZEROS and told == FakeUsage(0, 0):
        assert found.source == usage_pb2.USAGE_SOURCE_ESTIMATED
        return
    assert found.source == usage_pb2.USAGE_SOURCE_REPORTED
    assert (found.input_token_count, found.output_token_count) == (told.input_tokens, told.output_tokens)
    assert found.cache_read_token_count == (told.cache_read_tokens if plays("cache reads", format) else 0)
    written = found.cache_write_5m_token_count + found.cache_write_1h_token_count
    assert written == (told.cache_write_tokens if plays("cache writes", format) else 0)
    if plays("reasoning tokens", format):
        assert found.reasoning_token_count == (told.reasoning_tokens or 0)


@pytest.mark.parametrize(("format", "name"), CASES)
async def test_a_reply_can_be_sent_back(format: Format, name: str) -> None:
    """The provider refuses thoughts that are not as it signed them, and results of calls that it did not make."""
    reply = REPLIES[name]
    async with FakeProvider() as fake, gateway_for(fake, format) as gateway:
        fake.then(reply)
        found = await gateway.stub.Complete(ask(user("Hi")))
        for part in found.parts:
            if part.HasField("text"):
                part.text = part.text.replace("\0", "")  # refused in requests
        history = [user("Hi"), message_pb2.Message(role=message_pb2.ROLE_ASSISTANT, parts=found.parts)]
        calls = [part.tool_call for part in found.parts if part.HasField("tool_call")]
        if calls:
            results = message_pb2.Message(role=message_pb2.ROLE_TOOL)
            for call in calls:
                result = results.parts.add().tool_result
                result.tool_call_id, result.name = call.id, call.name
                result.content.add(text="21 °C")
            history.append(results)
        else:
            history.append(user("Go on."))
        fake.then(FakeReply.of("Done."))
        again = await gateway.stub.Complete(ask(*history))
    assert text_of(again) == "Done."
    if any(isinstance(part, FakeServerTool) for part in reply.parts) and plays("web searches", format):
        assert "srvtoolu_1" in json.dumps(fake.requests[-1].body)
