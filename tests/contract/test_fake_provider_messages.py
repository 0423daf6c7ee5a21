"""The fake's Messages API, judged by Anthropic's own client: what it gathers from a stream is what it gets unary."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import anthropic
import pytest

from llmgateway_server.testing.fake_provider import (
    FakeProvider,
    FakeReasoning,
    FakeReply,
    FakeToolCall,
    anthropic_messages,
    cuts,
)
from tests.contract.fake_replies import ASKED, MODEL, REPLIES, REQUESTS, anthropic_client

REQUEST = REQUESTS["anthropic_messages"]
CUTS = {
    "whole": cuts.whole,
    "one byte": cuts.one_byte,
    "inside utf-8": cuts.inside_utf8,
    "inside line ends": cuts.inside_line_ends,
    "random": cuts.seeded(3),
}
TOOL = {"name": "weather", "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}}}


def view(message: Any) -> dict[str, Any]:
    """Returns what a caller reads of a message, without what the client adds to a parsed one."""
    seen: dict[str, Any] = message.model_dump(warnings=False)
    for block in seen["content"]:
        block.pop("parsed_output", None)
    return seen


async def both(client: anthropic.AsyncAnthropic, request: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    unary = await client.messages.create(**request)
    async with client.messages.stream(**request) as stream:
        streamed = await stream.get_final_message()
    return view(unary), view(streamed)


@pytest.mark.parametrize("name", REPLIES)
async def test_stream_and_unary_agree(name: str) -> None:
    async with FakeProvider() as fake, anthropic_client(fake) as client:
        fake.then(REPLIES[name], REPLIES[name])
        unary, streamed = await both(client, REQUEST)
    assert unary == streamed
    assert unary["stop_reason"] == anthropic_messages.FINISHES[REPLIES[name].ends]


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("name", ["every width", "line ends", "text and calls", "search"])
async def test_cuts_change_nothing(name: str, cut: str) -> None:
    async with FakeProvider(cut=CUTS[cut]) as fake, anthropic_client(fake) as client:
        fake.then(REPLIES[name], REPLIES[name])
        unary, streamed = await both(client, REQUEST)
    assert unary == streamed


async def test_blocks_are_what_the_script_says() -> None:
    async with FakeProvider() as fake, anthropic_client(fake) as client:
        fake.then(REPLIES["search"], REPLIES["redacted"], REPLIES["documents"], REPLIES["text and calls"])
        search, redacted, documents, calls = [await client.messages.create(**REQUEST) for _ in range(4)]
    assert [block.type for block in search.content] == [
        "thinking",
        "server_tool_use",
        "web_search_tool_result",
        "text",
    ]
    assert search.content[2].type == "web_search_tool_result"
    assert isinstance(search.content[2].content, list)
    assert [(page.url, page.page_age) for page in search.content[2].content] == [("https://example.com/a", "2 days")]
    assert search.content[0].type == "thinking"
    assert search.content[0].signature == "c2ln"
    assert search.usage.server_tool_use is not None
    assert search.usage.server_tool_use.web_search_requests == 1
    assert redacted.content[1].type == "redacted_thinking"
    assert redacted.content[1].data == "c2VjcmV0"
    assert documents.content[0].type == "text"
    assert [cited.type for cited in documents.content[0].citations or ()] == [
        "char_location",
        "web_search_result_location",
    ]
    assert [block.input for block in calls.content if block.type == "tool_use"] == [
        {"city": "Zürich"},
        {"city": "São Paulo", "nested": {"a": [{}]}},
        {},
    ]


async def test_usage_leaves_out_what_a_cache_held() -> None:
    async with FakeProvider() as fake, anthropic_client(fake) as client:
        fake.then(REPLIES["usage"])
        usage = (await client.messages.create(**REQUEST)).usage
    assert (usage.input_tokens, usage.cache_read_input_tokens, usage.cache_creation_input_tokens) == (400, 300, 300)
    assert usage.cache_creation is not None
    assert usage.cache_creation.ephemeral_5m_input_tokens == 200
    assert usage.cache_creation.ephemeral_1h_input_tokens == 100
    assert usage.output_tokens_details is not None
    assert usage.output_tokens_details.thinking_tokens == 64


async def test_refusals_and_stop_sequences_are_explained() -> None:
    async with FakeProvider() as fake, anthropic_client(fake) as client:
        fake.then(REPLIES["refusal"], REPLIES["stop sequence"])
        refused = await client.messages.create(**REQUEST)
        stopped = await client.messages.create(**REQUEST)
    assert refused.stop_details is not None
    assert refused.stop_details.explanation == "I cannot help with that."
    assert (stopped.stop_reason, stopped.stop_sequence) == ("stop_sequence", "3")


async def test_a_call_may_be_cut_off() -> None:
    reply = FakeReply.of(FakeToolCall("toolu_1", "weather", '{"city":"Zür'), finish="length")
    async with FakeProvider() as fake, anthropic_client(fake) as client:
        fake.then(reply)
        async with client.messages.stream(**REQUEST) as stream:
            pieces = [event.partial_json async for event in stream if event.type == "input_json"]
            message = await stream.get_final_message()
    assert "".join(pieces) == '{"city":"Zür'
    assert message.stop_reason == "max_tokens"


async def test_a_conversation_with_thoughts_goes_on() -> None:
    """Thoughts come back unchanged, calls are answered; a changed thought is refused."""
    request = {**REQUEST, "thinking": {"type": "enabled", "budget_tokens": 1024}, "tools": [TOOL]}
    reply = FakeReply.of(FakeReasoning("Which city?"), FakeToolCall("toolu_1", "weather", '{"city":"Bern"}'))
    result = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "21 °C"}]}
    async with FakeProvider() as fake, anthropic_client(fake) as client:
        fake.then(reply)
        async with client.messages.stream(**request) as stream:
            said = await stream.get_final_message()
        thought = said.content[0]
        assert thought.type == "thinking"
        turn = {"role": "assistant", "content": said.content}
        answer = await client.messages.create(**{**request, "messages": [*ASKED, turn, result]})
        assert answer.stop_reason == "end_turn"
        thought.thinking = "Which town?"
        with pytest.raises(anthropic.BadRequestError, match=r"messages\.1\.content\.0"):
            await client.messages.create(**{**request, "messages": [*ASKED, turn, result]})


async def test_thoughts_can_be_hidden() -> None:
    request = {**REQUEST, "thinking": {"type": "adaptive", "display": "omitted"}}
    async with FakeProvider() as fake, anthropic_client(fake) as client:
        fake.then(REPLIES["reasoning"], REPLIES["reasoning"])
        unary, streamed = await both(client, request)
    assert unary == streamed
    assert (unary["content"][0]["thinking"], unary["content"][0]["signature"]) == ("", "c2lnbmVk")


async def test_tokens_are_counted() -> None:
    async with FakeProvider() as fake, anthropic_client(fake) as client:
        guessed = await client.messages.count_tokens(model=MODEL, messages=ASKED)
        fake.input_tokens = 1234
        told = await client.messages.count_tokens(model=MODEL, messages=ASKED)
    assert guessed.input_tokens > 0
    assert told.input_tokens == 1234


# --- the bytes ---------------------------------------------------------------------------------------------------


def events(reply: FakeReply) -> list[dict[str, Any]]:
    found = []
    for frame in anthropic_messages.frames(reply, {"model": MODEL}):
        name, data, *rest = frame.decode().split("\n")
        payload = json.loads(data.removeprefix("data: "))
        assert rest == ["", ""]
        assert name == f"event: {payload['type']}"
        found.append(payload)
    return found


def test_blanks_stand_before_the_last_brace_of_all_but_pings() -> None:
    frames = anthropic_messages.frames(REPLIES["every width"], {"model": MODEL})
    assert any(re.search(rb" +}\n\n$", frame) for frame in frames)
    assert [frame for frame in frames if b"ping" in frame] == [b'event: ping\ndata: {"type": "ping"}\n\n']


def test_usage_is_said_twice_and_the_second_counts() -> None:
    told = events(replace(REPLIES["search"], usage=REPLIES["usage"].usage))
    first = told[0]["message"]["usage"]
    last = next(event["usage"] for event in told if event["type"] == "message_delta")
    assert first["input_tokens"] < last["input_tokens"]
    assert first["output_tokens"] < last["output_tokens"]
    assert "cache_creation" in first
    assert "cache_creation" not in last


def test_calls_begin_with_an_empty_piece() -> None:
    told = events(REPLIES["text and calls"])
    pieces = [event["delta"].get("partial_json") for event in told if event["type"] == "content_block_delta"]
    assert pieces.count("") == 3
    assert events(REPLIES["call without arguments"])[3]["delta"] == {"type": "input_json_delta", "partial_json": ""}


def test_citations_come_before_their_text_and_redacted_thoughts_whole() -> None:
    cited = [event["delta"]["type"] for event in events(REPLIES["documents"]) if event["type"] == "content_block_delta"]
    assert cited[:3] == ["citations_delta", "citations_delta", "text_delta"]
    redacted = [event for event in events(REPLIES["redacted"]) if event.get("index") == 1]
    assert [event["type"] for event in redacted] == ["content_block_start", "content_block_stop"]
    assert redacted[0]["content_block"]["data"] == "c2VjcmV0"
