"""The fake's generateContent, judged by Google's own client: what it gathers from a stream is what it gets unary."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from google import genai
from google.genai import errors, types

from llmgateway_server.testing.fake_provider import FakeError, FakeProvider, FakeReply, FakeToolCall, cuts, gemini
from llmgateway_server.testing.fake_provider.checks import Asked, Memory, Refused
from llmgateway_server.testing.fake_provider.checks_gemini import check_count, check_generation, check_stream
from tests.contract.fake_replies import ASKED, MODEL, REPLIES

CONFIG = types.GenerateContentConfig(
    response_logprobs=True, logprobs=2, thinking_config=types.ThinkingConfig(include_thoughts=True)
)
ASK: dict[str, Any] = {"model": MODEL, "contents": ASKED[0]["content"], "config": CONFIG}
CUTS = {
    "whole": cuts.whole,
    "one byte": cuts.one_byte,
    "inside utf-8": cuts.inside_utf8,
    "random": cuts.seeded(3),
}


@contextlib.asynccontextmanager
async def client_of(fake: FakeProvider, api_key: str = "fake", *, vertex: bool = False) -> AsyncIterator[Any]:
    """Opens Google's own client, which checks all that it reads against its types."""
    with httpx.Client(trust_env=False, verify=False) as unused:
        async with httpx.AsyncClient(trust_env=False, verify=False) as inner:
            options = types.HttpOptions(base_url=fake.root_url, httpx_client=unused, httpx_async_client=inner)
            yield genai.Client(vertexai=vertex, api_key=api_key, http_options=options).aio.models


def view(answers: list[types.GenerateContentResponse]) -> dict[str, Any]:
    """Returns what a caller puts together, of one answer or of a stream's."""
    said: list[Any] = []
    logprobs: list[Any] = []
    for answer in answers:
        for candidate in answer.candidates or ():
            for part in (candidate.content.parts if candidate.content else None) or ():
                _add(said, part.model_dump(exclude_none=True))
            if candidate.logprobs_result is not None:
                logprobs += candidate.logprobs_result.chosen_candidates or ()
    last = answers[-1]
    assert last.candidates
    return {
        "said": said,
        "logprobs": [(each.token, each.log_probability) for each in logprobs],
        "finish": last.candidates[0].finish_reason,
        "grounding": last.candidates[0].grounding_metadata,
        "usage": last.usage_metadata,
        "names": (last.model_version, last.response_id),
    }


def _add(said: list[Any], part: dict[str, Any]) -> None:
    """Joins bare texts, and passes over empty ones."""
    bare = part.keys() == {"text"}
    if bare and said and said[-1].keys() == {"text"}:
        said[-1] = {"text": said[-1]["text"] + part["text"]}
    elif not bare or part["text"]:
        said.append(part)


async def both(client: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    unary = await client.generate_content(**ASK)
    streamed = [answer async for answer in await client.generate_content_stream(**ASK)]
    return view([unary]), view(streamed)


@pytest.mark.parametrize("name", REPLIES)
async def test_stream_and_unary_agree(name: str) -> None:
    async with FakeProvider() as fake, client_of(fake) as client:
        fake.then(REPLIES[name], REPLIES[name])
        unary, streamed = await both(client)
    assert unary == streamed
    assert unary["finish"] == gemini.FINISHES[REPLIES[name].ends]


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("name", ["every width", "line ends", "text and calls", "citations", "logprobs"])
async def test_cuts_change_nothing(name: str, cut: str) -> None:
    async with FakeProvider(cut=CUTS[cut]) as fake, client_of(fake) as client:
        fake.then(REPLIES[name], REPLIES[name])
        unary, streamed = await both(client)
    assert unary == streamed


async def test_parts_are_what_the_script_says() -> None:
    async with FakeProvider() as fake, client_of(fake) as client:
        fake.then(REPLIES["text and calls"], REPLIES["citations"], REPLIES["silent refusal"])
        calls, cited, nothing = [await client.generate_content(**ASK) for _ in range(3)]
    thought, text, *_ = calls.candidates[0].content.parts
    assert (thought.text, thought.thought, thought.thought_signature) == ("Two cities.", True, b"sig")
    assert text.text == "Looking. "
    assert [(call.id, call.name, call.args) for call in calls.function_calls] == [
        ("call_1", "weather", {"city": "Zürich"}),
        ("call_2", "weather", {"city": "São Paulo", "nested": {"a": [{}]}}),
        ("call_3", "now", {}),
    ]
    found = cited.candidates[0].grounding_metadata
    assert [chunk.web.title for chunk in found.grounding_chunks] == ["A page", "A page"]
    assert found.grounding_supports[0].segment.text == " page."
    assert nothing.candidates[0].content.parts is None


async def test_thoughts_come_on_top_of_the_answer() -> None:
    async with FakeProvider() as fake, client_of(fake) as client:
        fake.then(REPLIES["usage"])
        usage = (await client.generate_content(**ASK)).usage_metadata
    assert (usage.prompt_token_count, usage.candidates_token_count, usage.thoughts_token_count) == (1000, 436, 64)
    assert usage.total_token_count == 1500
    assert usage.cached_content_token_count == 300


async def test_thoughts_are_shown_to_those_who_ask() -> None:
    async with FakeProvider() as fake, client_of(fake) as client:
        fake.then(REPLIES["reasoning"])
        answer = await client.generate_content(model=MODEL, contents="Hi")
    assert [part.text for part in answer.candidates[0].content.parts] == ["It is warm."]


async def test_tokens_are_counted() -> None:
    async with FakeProvider() as fake, client_of(fake) as client:
        fake.input_tokens = 31
        assert (await client.count_tokens(model=MODEL, contents="Hi")).total_tokens == 31


async def test_vertex_has_the_same_words_at_other_places() -> None:
    async with FakeProvider() as fake, client_of(fake, vertex=True) as client:
        fake.then(FakeReply.of("Grüezi"))
        assert (await client.generate_content(model=MODEL, contents="Hi")).text == "Grüezi"
    assert "/publishers/google/models/fake-1:generateContent" in fake.requests[0].path


async def test_statuses_are_errors() -> None:
    async with FakeProvider(api_key="right") as fake, client_of(fake, "right") as client:
        fake.then(FakeError(429), FakeError(503, message="Later."))
        for status, word in ((429, "RESOURCE_EXHAUSTED"), (503, "UNAVAILABLE")):
            with pytest.raises(errors.APIError) as caught:
                await client.generate_content(**ASK)
            assert (caught.value.code, caught.value.status) == (status, word)
        async with client_of(fake, "wrong") as other:
            with pytest.raises(errors.ClientError) as refused:
                await other.generate_content(**ASK)
    assert refused.value.code == 400
    assert refused.value.details["error"]["details"][0]["reason"] == "API_KEY_INVALID"


async def test_an_error_inside_a_stream_ends_it() -> None:
    async with FakeProvider() as fake, client_of(fake) as client:
        fake.then(FakeError(503, in_stream_after=1, reply=FakeReply.of("Hello there")))
        texts: list[str] = []
        with pytest.raises(errors.APIError):  # noqa: PT012  # what came before the error counts
            async for answer in await client.generate_content_stream(**ASK):
                texts.append(answer.text)  # noqa: PERF401
    assert texts == ["Hello"]


# --- what is refused ---------------------------------------------------------------------------------------------


def asked(**fields: Any) -> dict[str, Any]:
    return {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}], **fields}


def calling(*parts: dict[str, Any]) -> dict[str, Any]:
    call = {"functionCall": {"name": "now", "args": {}}}
    return asked(
        contents=[
            {"role": "user", "parts": [{"text": "Hi"}]},
            {"role": "model", "parts": [call]},
            {"role": "user", "parts": list(parts)},
        ]
    )


NOW = {"functionDeclarations": [{"name": "now"}]}
REFUSED: dict[str, dict[str, Any]] = {
    "no contents": asked(contents=[]),
    "an unknown field": asked(temperature=1),
    "an unknown role": asked(contents=[{"role": "assistant", "parts": [{"text": "Hi"}]}]),
    "no parts": asked(contents=[{"role": "user", "parts": []}]),
    "two things in one part": asked(contents=[{"role": "user", "parts": [{"text": "a", "functionCall": {}}]}]),
    "a text that is none": asked(contents=[{"parts": [{"text": 1}]}]),
    "a file without an address": asked(contents=[{"parts": [{"fileData": {"mimeType": "image/png"}}]}]),
    "a call without a name": asked(contents=[{"role": "model", "parts": [{"functionCall": {"args": {}}}]}]),
    "calls at the end": asked(contents=[{"role": "model", "parts": [{"functionCall": {"name": "now"}}]}]),
    "no base64": asked(contents=[{"parts": [{"inlineData": {"mimeType": "image/png", "data": "?"}}]}]),
    "a medium without a type": asked(contents=[{"parts": [{"inlineData": {"data": "QQ=="}}]}]),
    "a strange signature": asked(contents=[{"parts": [{"text": "a", "thoughtSignature": "c3RyYW5nZQ=="}]}]),
    "a result of nothing": asked(contents=[{"parts": [{"functionResponse": {"name": "now", "response": {}}}]}]),
    "a result that is no object": calling({"functionResponse": {"name": "now", "response": "12:00"}}),
    "a result of another tool": calling({"functionResponse": {"name": "then", "response": {}}}),
    "too few results": calling({"text": "Never mind."}),
    "media as instructions": asked(systemInstruction={"parts": [{"fileData": {"fileUri": "gs://b/o"}}]}),
    "two of one name": asked(tools=[{"functionDeclarations": [{"name": "now"}, {"name": "now"}]}]),
    "two schemas of a tool": asked(
        tools=[{"functionDeclarations": [{"name": "now", "parameters": {}, "parametersJsonSchema": {}}]}]
    ),
    "an unknown kind of tool": asked(tools=[{"bash": {}}]),
    "a choice without tools": asked(toolConfig={"functionCallingConfig": {"mode": "AUTO"}}),
    "an unknown mode": asked(tools=[NOW], toolConfig={"functionCallingConfig": {"mode": "SOME"}}),
    "an unknown name": asked(
        tools=[NOW], toolConfig={"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["then"]}}
    ),
    "too many stops": asked(generationConfig={"stopSequences": list("abcdef")}),
    "a schema without a type": asked(generationConfig={"responseSchema": {"type": "OBJECT"}}),
    "alternatives without probabilities": asked(generationConfig={"logprobs": 2}),
    "too hot": asked(generationConfig={"temperature": 3}),
    "a budget and a level": asked(generationConfig={"thinkingConfig": {"thinkingBudget": 1, "thinking_level": "low"}}),
    "an unknown level": asked(generationConfig={"thinkingConfig": {"thinkingLevel": "endless"}}),
    "a setting of no harm": asked(safetySettings=[{"category": "X", "threshold": "OFF"}]),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_the_vendor_refuses_is_refused(name: str) -> None:
    with pytest.raises(Refused) as caught:
        check_generation(Asked({"x-goog-api-key": "k"}, REFUSED[name], Memory()))
    assert caught.value.error.status == 400


def test_a_stream_must_be_asked_for_as_events() -> None:
    request = Asked({"x-goog-api-key": "k"}, asked(), Memory(), path="/v1beta/models/m:streamGenerateContent")
    with pytest.raises(Refused):
        check_stream(request)


@pytest.mark.parametrize(("headers", "model", "status"), [({}, MODEL, 403), ({"x-goog-api-key": "k"}, "other", 404)])
def test_strangers_and_strange_models_are_refused(headers: dict[str, str], model: str, status: int) -> None:
    with pytest.raises(Refused) as caught:
        check_generation(Asked(headers, asked(model=model), Memory(), models=(MODEL,)))
    assert caught.value.error.status == status


def test_what_is_no_object_is_refused() -> None:
    with pytest.raises(Refused):
        check_generation(Asked({"x-goog-api-key": "k"}, b"Hi", Memory()))


def test_whole_requests_are_counted_under_their_own_name() -> None:
    headers = {"authorization": "Bearer k"}
    inner = asked(model=f"models/{MODEL}")
    check_count(Asked(headers, {"model": MODEL, "generateContentRequest": inner}, Memory()))
    with pytest.raises(Refused):
        check_count(Asked(headers, {"model": "other", "generateContentRequest": inner}, Memory()))
    with pytest.raises(Refused):
        check_count(Asked(headers, {"model": MODEL, "generateContentRequest": inner | {"contents": []}}, Memory()))


def test_half_an_object_cannot_be_said() -> None:
    reply = FakeReply.of(FakeToolCall("c", "now", '{"a'), finish="length")
    [candidate] = gemini.body(reply, {"model": MODEL})["candidates"]
    assert candidate["content"]["parts"][0]["functionCall"]["args"] == {}
