"""The fake's chat completions, judged by OpenAI's own client: what it gathers from a stream is what it gets unary."""

from __future__ import annotations

import json
from typing import Any

import openai
import pydantic
import pytest

from llmgateway_server.testing.fake_provider import (
    FakeProvider,
    FakeRefusal,
    FakeReply,
    FakeText,
    FakeToolCall,
    FakeUsage,
    cuts,
    openai_chat,
)
from tests.contract.fake_replies import ASKED, MODEL, REPLIES, REQUESTS, TOKENS, openai_client

REQUEST = REQUESTS["openai_chat"]
USAGE: dict[str, Any] = {"stream_options": {"include_usage": True}}
CUTS = {
    "whole": cuts.whole,
    "one byte": cuts.one_byte,
    "inside utf-8": cuts.inside_utf8,
    "inside line ends": cuts.inside_line_ends,
    "random": cuts.seeded(7),
}


class Forecast(pydantic.BaseModel):
    city: str
    degrees: float


def view(completion: Any) -> dict[str, Any]:
    """Returns what a caller reads of a completion, without what the client's accumulator adds or leaves away."""
    seen: dict[str, Any] = completion.model_dump()
    for choice in seen["choices"]:
        message = choice["message"]
        message.pop("parsed", None)
        message["annotations"] = message.get("annotations") or []
        message["tool_calls"] = message["tool_calls"] or None
        for call in message["tool_calls"] or ():
            call.pop("index", None)
            call["function"].pop("parsed_arguments", None)
    return seen


async def both(client: openai.AsyncOpenAI, request: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    unary = await client.chat.completions.create(**request)
    async with client.chat.completions.stream(**request, **USAGE) as stream:
        await stream.until_done()  # the final completion is an error where it was cut off
        streamed = stream.current_completion_snapshot
    return view(unary), view(streamed)


@pytest.mark.parametrize("name", REPLIES)
async def test_stream_and_unary_agree(name: str) -> None:
    async with FakeProvider() as fake, openai_client(fake) as client:
        fake.then(REPLIES[name], REPLIES[name])
        unary, streamed = await both(client, REQUEST)
    assert unary == streamed
    assert unary["choices"][0]["finish_reason"] == openai_chat.FINISHES[REPLIES[name].ends]


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("name", ["every width", "line ends", "text and calls", "logprobs"])
async def test_cuts_change_nothing(name: str, cut: str) -> None:
    async with FakeProvider(cut=CUTS[cut]) as fake, openai_client(fake) as client:
        fake.then(REPLIES[name], REPLIES[name])
        unary, streamed = await both(client, REQUEST)
    assert unary == streamed


async def test_text_calls_and_usage_are_what_the_script_says() -> None:
    async with FakeProvider() as fake, openai_client(fake) as client:
        fake.then(REPLIES["text and calls"], REPLIES["usage"])
        said = await client.chat.completions.create(**REQUEST)
        counted = await client.chat.completions.create(**REQUEST)
    message = said.choices[0].message
    assert message.content == "Looking. "
    assert [(call.id, call.function.name) for call in message.tool_calls or () if call.type == "function"] == [
        ("call_1", "weather"),
        ("call_2", "weather"),
        ("call_3", "now"),
    ]
    assert counted.usage is not None
    assert counted.usage.prompt_tokens == 1000
    assert counted.usage.prompt_tokens_details is not None
    assert counted.usage.prompt_tokens_details.cached_tokens == 300
    assert counted.usage.prompt_tokens_details.cache_write_tokens == 300
    assert counted.usage.completion_tokens_details is not None
    assert counted.usage.completion_tokens_details.reasoning_tokens == 64


async def test_answers_are_parsed_into_a_type() -> None:
    reply = FakeReply.of('{"city":"Zürich","degrees":21.5}')
    request: dict[str, Any] = {"model": MODEL, "messages": ASKED, "response_format": Forecast}
    async with FakeProvider() as fake, openai_client(fake) as client:
        fake.then(reply, reply)
        unary = await client.chat.completions.parse(**request)
        async with client.chat.completions.stream(**request) as stream:
            streamed = await stream.get_final_completion()
    assert unary.choices[0].message.parsed == Forecast(city="Zürich", degrees=21.5)
    assert streamed.choices[0].message.parsed == unary.choices[0].message.parsed


async def test_arguments_are_parsed_into_a_type() -> None:
    tool = openai.pydantic_function_tool(Forecast, name="report")
    reply = FakeReply.of(FakeToolCall("call_1", "report", '{"city":"Bern","degrees":3}'))
    async with FakeProvider() as fake, openai_client(fake) as client:
        fake.then(reply)
        async with client.chat.completions.stream(model=MODEL, messages=ASKED, tools=[tool]) as stream:
            done = [event async for event in stream if event.type == "tool_calls.function.arguments.done"]
    assert [event.parsed_arguments for event in done] == [Forecast(city="Bern", degrees=3)]


async def test_a_parsed_answer_that_was_cut_off_is_an_error() -> None:
    async with FakeProvider() as fake, openai_client(fake) as client:
        fake.then(FakeReply.of('{"city":"Zü', finish="length"), FakeReply.of("", finish="content_filter"))
        with pytest.raises(openai.LengthFinishReasonError):
            await client.chat.completions.parse(model=MODEL, messages=ASKED, response_format=Forecast)
        with pytest.raises(openai.ContentFilterFinishReasonError):
            await client.chat.completions.parse(model=MODEL, messages=ASKED, response_format=Forecast)


async def test_refusals_and_logprobs_arrive_as_events() -> None:
    async with FakeProvider() as fake, openai_client(fake) as client:
        fake.then(FakeReply.of(FakeRefusal("No, sorry.")), REPLIES["logprobs"])
        async with client.chat.completions.stream(**REQUEST) as stream:
            refusals = [event.refusal async for event in stream if event.type == "refusal.done"]
        async with client.chat.completions.stream(**REQUEST) as stream:
            tokens = [
                token async for event in stream if event.type == "logprobs.content.delta" for token in event.content
            ]
    assert refusals == ["No, sorry."]
    assert [token.logprob for token in tokens] == [-0.1, -0.5, -0.25]
    assert b"".join(bytes(token.bytes or ()) for token in tokens).decode() == "Hi 😀"
    assert [len(token.top_logprobs) for token in tokens] == [2, 0, 1]


def chunks(reply: FakeReply, **wanted: Any) -> list[Any]:
    frames = openai_chat.frames(reply, {"model": MODEL, **wanted})
    assert frames.pop() == b"data: [DONE]\n\n"
    return [json.loads(frame.removeprefix(b"data: ")) for frame in frames]


def test_usage_comes_last_and_to_those_who_ask() -> None:
    plain = chunks(FakeReply(), stream=True)
    assert all("usage" not in chunk and chunk["choices"] for chunk in plain)
    asked = chunks(FakeReply(usage=FakeUsage(3, 4)), stream=True, stream_options={"include_usage": True})
    assert [chunk["usage"] for chunk in asked[:-1]] == [None] * (len(asked) - 1)
    assert asked[-1]["choices"] == []
    assert asked[-1]["usage"]["total_tokens"] == 7


def test_paddings_can_be_switched_off() -> None:
    assert all(chunk["obfuscation"] for chunk in chunks(FakeReply()))
    assert all(
        "obfuscation" not in chunk for chunk in chunks(FakeReply(), stream_options={"include_obfuscation": False})
    )


def test_ids_and_names_of_calls_come_once() -> None:
    reply = FakeReply.of(FakeToolCall("call_1", "now"), FakeToolCall("call_2", "weather", '{"city":"Bern"}'))
    deltas = [call for chunk in chunks(reply) for call in chunk["choices"][0]["delta"].get("tool_calls", ())]
    assert [(call["index"], call["id"], call["function"]["arguments"]) for call in deltas if "id" in call] == [
        (0, "call_1", ""),
        (1, "call_2", ""),
    ]
    joined = ["".join(call["function"]["arguments"] for call in deltas if call["index"] == index) for index in (0, 1)]
    assert joined == ["{}", '{"city":"Bern"}']


async def test_citations_count_from_the_start_of_the_content() -> None:
    async with FakeProvider() as fake, openai_client(fake) as client:
        fake.then(REPLIES["citations"])
        said = await client.chat.completions.create(**REQUEST)
    notes = [note.url_citation for note in said.choices[0].message.annotations or ()]
    assert [(note.start_index, note.end_index) for note in notes] == [(7, 13), (7, 13)]
    assert notes[1].url == "https://example.com/2"


def test_text_travels_as_plain_utf8() -> None:
    frames = b"".join(openai_chat.frames(REPLIES["char by char"], {"model": MODEL}))
    assert "漢".encode() in frames
    assert len(cuts.inside_utf8(frames)) > 5


async def test_logprobs_go_to_those_who_ask() -> None:
    async with FakeProvider() as fake, openai_client(fake) as client:
        fake.then(REPLIES["logprobs"])
        said = await client.chat.completions.create(model=MODEL, messages=ASKED)
    assert said.choices[0].logprobs is None


def test_tokens_have_to_add_up() -> None:
    with pytest.raises(ValueError, match="logprobs"):
        FakeText("Hi", logprobs=TOKENS)
