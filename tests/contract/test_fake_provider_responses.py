"""The fake's Responses, judged by OpenAI's own client: what it gathers from a stream is what it gets unary."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import openai
import pydantic
import pytest

from llmgateway_server.testing.fake_provider import FakeProvider, FakeReply, FakeToolCall, cuts, openai_responses
from tests.contract.fake_replies import ASKED, MODEL, REPLIES, REQUESTS, openai_client

REQUEST = REQUESTS["openai_responses"]
CUTS = {"one byte": cuts.one_byte, "inside utf-8": cuts.inside_utf8, "random": cuts.seeded(11)}
LAST_EVENTS = ("response.completed", "response.incomplete", "response.failed")


class Forecast(pydantic.BaseModel):
    city: str
    degrees: float


def view(response: Any) -> dict[str, Any]:
    """Returns what a caller reads of a response, without what the client adds to a parsed one."""
    seen: dict[str, Any] = response.model_dump()
    for item in seen["output"]:
        item.pop("parsed_arguments", None)
        for content in item.get("content") or ():
            content.pop("parsed", None)
    return seen


async def gather(client: openai.AsyncOpenAI, request: dict[str, Any]) -> tuple[list[Any], Any]:
    """Returns the events of a stream and the response of the last one."""
    async with client.responses.stream(**request) as stream:
        events: list[Any] = [event async for event in stream]
    assert events[-1].type in LAST_EVENTS
    return events, events[-1].response


@pytest.mark.parametrize("name", REPLIES)
async def test_stream_and_unary_agree(name: str) -> None:
    async with FakeProvider() as fake, openai_client(fake) as client:
        fake.then(REPLIES[name], REPLIES[name])
        unary = await client.responses.create(**REQUEST)
        _, streamed = await gather(client, REQUEST)
    assert view(unary) == view(streamed)
    reason = openai_responses.INCOMPLETE.get(REPLIES[name].ends)
    assert unary.status == ("incomplete" if reason else "completed")
    assert (unary.incomplete_details and unary.incomplete_details.reason) == reason


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("name", ["every width", "line ends", "text and calls", "search"])
async def test_cuts_change_nothing(name: str, cut: str) -> None:
    async with FakeProvider(cut=CUTS[cut]) as fake, openai_client(fake) as client:
        fake.then(REPLIES[name], REPLIES[name])
        unary = await client.responses.create(**REQUEST)
        _, streamed = await gather(client, REQUEST)
    assert view(unary) == view(streamed)


DELTAS = {
    "response.output_text": "text",
    "response.refusal": "refusal",
    "response.function_call_arguments": "arguments",
    "response.reasoning_summary_text": "text",
}
"""What a done event repeats of its deltas."""


@pytest.mark.parametrize("name", REPLIES)
async def test_deltas_add_up_to_the_done_events_and_these_to_the_items(name: str) -> None:
    async with FakeProvider() as fake, openai_client(fake) as client:
        fake.then(REPLIES[name])
        events, response = await gather(client, REQUEST)
    assert [event.sequence_number for event in events] == list(range(len(events)))
    joined: dict[tuple[Any, ...], str] = defaultdict(str)
    annotations: dict[int, list[Any]] = defaultdict(list)
    items: dict[int, Any] = {}
    for event in events:
        kind, _, step = event.type.rpartition(".")
        if kind in DELTAS:
            part = getattr(event, "content_index", getattr(event, "summary_index", None))
            place = (kind, event.output_index, part)
            if step == "delta":
                joined[place] += event.delta
            else:
                assert joined[place] == getattr(event, DELTAS[kind])
        elif event.type == "response.output_text.annotation.added":
            annotations[event.output_index].append(event.annotation.model_dump())
        elif event.type == "response.output_item.done":
            items[event.output_index] = event.item
    assert [item.model_dump() for _, item in sorted(items.items())] == view(response)["output"]
    for index, found in annotations.items():
        written = [note for part in items[index].content for note in part.annotations]
        assert [note.model_dump() for note in written] == found


EVENTS = """
created in_progress
output_item.added
reasoning_summary_part.added reasoning_summary_text.delta reasoning_summary_text.delta reasoning_summary_text.done
reasoning_summary_part.done
output_item.done
output_item.added
web_search_call.in_progress web_search_call.searching web_search_call.completed
output_item.done
output_item.added
content_part.added output_text.delta output_text.delta output_text.delta output_text.delta
output_text.annotation.added output_text.done content_part.done
output_item.done
completed
"""


async def test_events_come_in_the_order_of_the_vendor() -> None:
    async with FakeProvider() as fake, openai_client(fake) as client:
        fake.then(REPLIES["search"])
        stream = await client.responses.create(**REQUEST, stream=True)
        seen = [event.type.removeprefix("response.") async for event in stream]
    assert seen == EVENTS.split()


async def test_reasoning_searches_and_citations_are_what_the_script_says() -> None:
    async with FakeProvider() as fake, openai_client(fake) as client:
        fake.then(REPLIES["search"], REPLIES["logprobs"])
        said = await client.responses.create(**REQUEST)
        told = await client.responses.create(**REQUEST)
    thought, search, message = said.output
    assert thought.type == "reasoning"
    assert (thought.summary[0].text, thought.encrypted_content) == ("Search.", "c2ln")
    assert search.type == "web_search_call"
    assert search.action.type == "search"
    assert search.action.queries == ["weather in Zürich"]
    assert [source.url for source in search.action.sources or ()] == ["https://example.com/a"]
    assert message.type == "message"
    assert message.content[0].type == "output_text"
    assert [note.type for note in message.content[0].annotations] == ["url_citation"]
    assert said.output_text == "It is 21 °C there."
    assert told.output[0].type == "message"
    assert told.output[0].content[0].type == "output_text"
    assert [token.logprob for token in told.output[0].content[0].logprobs or ()] == [-0.1, -0.5, -0.25]


async def test_what_is_not_asked_for_is_not_said() -> None:
    async with FakeProvider() as fake, openai_client(fake) as client:
        fake.then(REPLIES["search"])
        said = await client.responses.create(model=MODEL, input="Hi")
    thought, search, _ = said.output
    assert thought.type == "reasoning"
    assert (thought.summary, thought.encrypted_content) == ([], None)
    assert search.type == "web_search_call"
    assert search.action.type == "search"
    assert search.action.sources is None


async def test_answers_and_arguments_are_parsed_into_types() -> None:
    arguments = '{"city":"Zürich","degrees":21.5}'
    tool: Any = {"type": "function", **openai.pydantic_function_tool(Forecast, name="report")["function"]}
    reply = FakeReply.of(arguments, FakeToolCall("call_1", "report", arguments))
    async with FakeProvider() as fake, openai_client(fake) as client:
        fake.then(reply)
        said = await client.responses.parse(
            model=MODEL,
            input=ASKED,
            text_format=Forecast,
            tools=[tool],
        )
    assert said.output_parsed == Forecast(city="Zürich", degrees=21.5)
    assert said.output[1].type == "function_call"
    assert said.output[1].parsed_arguments == {"city": "Zürich", "degrees": 21.5}


async def test_a_conversation_goes_on() -> None:
    """What was answered comes back as it is: thoughts, calls, and the id of the response."""
    reply = REPLIES["text and calls"]
    async with FakeProvider() as fake, openai_client(fake) as client:
        fake.then(reply)
        said = await client.responses.create(**REQUEST)
        items = [item.model_dump(exclude_none=True) for item in said.output]
        outputs: list[Any] = [
            {"type": "function_call_output", "call_id": item.call_id, "output": "21"}
            for item in said.output
            if item.type == "function_call"
        ]
        again = await client.responses.create(model=MODEL, input=[*ASKED, *items, *outputs])
        later = await client.responses.create(model=MODEL, input=outputs, previous_response_id=said.id)
    assert again.output_text == later.output_text == "Hello from the fake provider."
    assert again.id != later.id


async def test_input_tokens_are_counted() -> None:
    async with FakeProvider() as fake, openai_client(fake) as client:
        guessed = await client.responses.input_tokens.count(model=MODEL, input="Hi")
        fake.input_tokens = 1234
        told = await client.responses.input_tokens.count(model=MODEL, input=ASKED)
    assert guessed.input_tokens > 0
    assert told.input_tokens == 1234


def test_paddings_can_be_switched_off() -> None:
    reply = FakeReply()
    with_padding = b"".join(openai_responses.frames(reply, {"model": MODEL}))
    without = b"".join(
        openai_responses.frames(reply, {"model": MODEL, "stream_options": {"include_obfuscation": False}})
    )
    assert with_padding.count(b'"obfuscation"') == with_padding.count(b"event: response.output_text.delta")
    assert b"obfuscation" not in without
