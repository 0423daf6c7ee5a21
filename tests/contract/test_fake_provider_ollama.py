"""The fake's chat of Ollama, judged by Ollama's own client: what it gathers from a stream is what it gets unary."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import AsyncIterator
from typing import Any

import ollama
import pytest

from llmgateway.v1 import completion_pb2, message_pb2
from llmgateway_server.testing.fake_provider import FakeError, FakeProvider, FakeReply, cuts, ollama_chat
from llmgateway_server.testing.fake_provider.checks import Asked, Memory, Refused
from llmgateway_server.testing.fake_provider.checks_ollama import check_chat
from llmgateway_server.testing.gateway import running_gateway
from llmgateway_server.testing.upstream import Received
from tests.contract.fake_replies import ASKED, MODEL, REPLIES, REQUESTS

Json = dict[str, Any]

REQUEST = {key: value for key, value in REQUESTS["ollama_chat"].items() if key != "stream"}
NAMES = [name for name in REPLIES if name != "line ends"]
"""The client takes more than LF for the end of a line: a text with U+0085 is more than it can read."""
CUTS = {
    "whole": cuts.whole,
    "one byte": cuts.one_byte,
    "inside utf-8": cuts.inside_utf8,
    "inside line ends": cuts.inside_line_ends,
    "random": cuts.seeded(5),
}
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}


@contextlib.asynccontextmanager
async def ollama_client(fake: FakeProvider, api_key: str = "") -> AsyncIterator[ollama.AsyncClient]:
    headers = {"authorization": f"Bearer {api_key}"} if api_key else {}
    client = ollama.AsyncClient(host=fake.root_url, trust_env=False, headers=headers)
    yield client
    await client._client.aclose()


def view(answer: ollama.ChatResponse) -> Json:
    seen: Json = answer.model_dump(exclude_none=True)
    return seen


async def both(client: ollama.AsyncClient, request: Json) -> tuple[Json, Json]:
    """Returns the whole answer, and what the lines of the streamed one add up to."""
    unary = view(await client.chat(**request))
    lines = [view(line) async for line in await client.chat(**request, stream=True)]
    assert [line["done"] for line in lines] == [False] * (len(lines) - 1) + [True]
    streamed, message = lines[-1], lines[-1]["message"]
    for field in ("content", "thinking"):
        if text := "".join(line["message"].get(field) or "" for line in lines):
            message[field] = text
    if calls := [call for line in lines for call in line["message"].get("tool_calls", ())]:
        message["tool_calls"] = calls
    if tokens := [token for line in lines for token in line.get("logprobs", ())]:
        streamed["logprobs"] = tokens
    return unary, streamed


@pytest.mark.parametrize("name", NAMES)
async def test_stream_and_unary_agree(name: str) -> None:
    async with FakeProvider() as fake, ollama_client(fake) as client:
        fake.then(REPLIES[name], REPLIES[name])
        unary, streamed = await both(client, REQUEST)
    assert unary == streamed
    assert unary["done_reason"] == ollama_chat.FINISHES[REPLIES[name].ends]


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("name", ["every width", "text and calls", "logprobs"])
async def test_cuts_change_nothing(name: str, cut: str) -> None:
    async with FakeProvider(cut=CUTS[cut]) as fake, ollama_client(fake) as client:
        fake.then(REPLIES[name], REPLIES[name])
        unary, streamed = await both(client, REQUEST)
    assert unary == streamed


async def test_an_answer_is_what_the_script_says() -> None:
    async with FakeProvider() as fake, ollama_client(fake) as client:
        fake.then(REPLIES["text and calls"], REPLIES["usage"])
        answer = await client.chat(**REQUEST)
        counted = await client.chat(**REQUEST)
    assert (answer.message.content, answer.message.thinking) == ("Looking. ", "Two cities.")
    assert [(call.function.name, call.function.arguments) for call in answer.message.tool_calls or ()] == [
        ("weather", {"city": "Zürich"}),
        ("weather", {"city": "São Paulo", "nested": {"a": [{}]}}),
        ("now", {}),
    ]
    assert (counted.prompt_eval_count, counted.eval_count) == (1000, 500)


async def test_a_model_thinks_unless_it_is_told_not_to() -> None:
    async with FakeProvider() as fake, ollama_client(fake) as client:
        for think, thinking in ((None, "Let me think… 21°"), ("low", "Let me think… 21°"), (False, None)):
            fake.then(REPLIES["reasoning"])
            assert (await client.chat(MODEL, ASKED, think=think)).message.thinking == thinking


async def test_a_stream_is_what_is_sent_unasked() -> None:
    async with FakeProvider() as fake, ollama_client(fake) as client:
        answer = await client._client.post("/api/chat", json={"model": MODEL, "messages": ASKED})
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert len(answer.text.splitlines()) > 1


@pytest.mark.parametrize("status", [400, 401, 404, 500, 503])
async def test_errors_are_what_the_client_takes_them_for(status: int) -> None:
    async with FakeProvider() as fake, ollama_client(fake) as client:
        fake.then(FakeError(status, message="No."), FakeError(status, message="No."))
        with pytest.raises(ollama.ResponseError, match=r"No\.") as unary:
            await client.chat(**REQUEST)
        with pytest.raises(ollama.ResponseError, match=r"No\.") as streamed:
            await read_all(client, [])
    assert unary.value.status_code == streamed.value.status_code == status


async def test_an_error_inside_a_stream() -> None:
    async with FakeProvider() as fake, ollama_client(fake) as client:
        fake.then(FakeError(500, message="No.", in_stream_after=2, reply=FakeReply.of("Hello there")))
        said: list[str] = []
        with pytest.raises(ollama.ResponseError, match=r"No\."):
            await read_all(client, said)
    assert said == ["Hello", " ther"]


async def test_keys_and_models() -> None:
    async with FakeProvider(models=("fake-1",), api_key="right") as fake:
        async with ollama_client(fake, "wrong") as client:
            with pytest.raises(ollama.ResponseError) as refused:
                await client.chat(MODEL, ASKED)
        async with ollama_client(fake, "right") as client:
            assert (await client.chat(MODEL, ASKED)).done
            with pytest.raises(ollama.ResponseError) as unknown:
                await client.chat("fake-2", ASKED)
    assert (refused.value.status_code, unknown.value.status_code) == (401, 404)


async def read_all(client: ollama.AsyncClient, said: list[str]) -> None:
    async for line in await client.chat(**REQUEST, stream=True):
        said += [line.message.content or ""]


# --- through a gateway -------------------------------------------------------------------------------------------


async def asked_by_a_gateway(fake: FakeProvider, dialect: str, **account: str) -> Received:
    """Returns the request of a gateway's account."""
    settings: Json = {
        "providers": {"local": {"vendor": "ollama", "base_url": fake.root_url, **account}},
        "models": {"m": {"targets": [{"provider": "local", "model": MODEL, "dialect": dialect}]}},
    }
    hi = message_pb2.Message(role=message_pb2.ROLE_USER, parts=[message_pb2.Part(text="Hi")])
    async with running_gateway(settings) as gateway:
        await gateway.stub.Complete(completion_pb2.CompleteRequest(model="m", messages=[hi]))
    return fake.requests[-1]


async def test_a_gateway_sends_no_key_unless_it_has_one() -> None:
    async with FakeProvider() as fake:
        without = await asked_by_a_gateway(fake, "")
        with_one = await asked_by_a_gateway(fake, "ollama_chat", api_key="k")
        alike = await asked_by_a_gateway(fake, "openai_chat", api_key="k")
    assert (without.path, without.headers.get("authorization")) == ("/api/chat", None)
    assert (with_one.path, with_one.headers["authorization"]) == ("/api/chat", "Bearer k")
    assert (alike.path, alike.headers["authorization"]) == ("/v1/chat/completions", "Bearer k")


# --- what is refused ---------------------------------------------------------------------------------------------

USER = {"role": "user", "content": "Hi"}
CALL = {"function": {"name": "f", "arguments": {}}}
FINE: dict[str, Json] = {
    "least": {},
    "nothing said": {"messages": []},
    "most": {
        "messages": [
            {"role": "system", "content": "Be kind."},
            {"role": "user", "content": "Look", "images": ["cG5n"]},
            {"role": "assistant", "content": "", "thinking": "Hm", "tool_calls": [CALL]},
            {"role": "tool", "content": "1", "tool_name": "f", "tool_call_id": "c"},
        ],
        "tools": [TOOL],
        "format": {"type": "object"},
        "options": {"temperature": 0, "stop": ["a"], "seed": 1, "num_ctx": 8, "unknown": [1]},
        "think": "max",
        "keep_alive": -1,
        "logprobs": True,
        "top_logprobs": 20,
        "unknown": {},
    },
    "json": {"format": "json", "think": True, "keep_alive": "5m"},
    "as older clients send it": {"format": "", "options": {}, "tools": [], "keep_alive": None},
}
FAULTS: dict[str, Json] = {
    "no model": {"model": ""},
    "messages": {"messages": {}},
    "role": {"messages": [{"role": "robot", "content": "a"}]},
    "no role": {"messages": [{"content": "a"}]},
    "content": {"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}]}]},
    "image": {"messages": [{**USER, "images": ["https://example.com/a.png"]}]},
    "arguments": {"messages": [{**USER, "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}]},
    "nameless call": {"messages": [{**USER, "tool_calls": [{"function": {"name": "", "arguments": {}}}]}]},
    "format": {"format": "xml"},
    "think": {"think": "much"},
    "think by number": {"think": 1000},
    "logprobs": {"logprobs": 1},
    "top logprobs": {"top_logprobs": 21},
    "stream": {"stream": "yes"},
    "options": {"options": []},
    "temperature": {"options": {"temperature": "hot"}},
    "seed": {"options": {"seed": 1.5}},
    "stop": {"options": {"stop": "a"}},
    "tool without parameters": {"tools": [{"type": "function", "function": {"name": "f"}}]},
    "nameless tool": {"tools": [{"type": "function", "function": {"name": "", "parameters": {}}}]},
}


def refusal(more: Any) -> int | None:
    """Returns the status with which a request is refused; 0 for a shape that no check has foreseen."""
    body = {"model": "m", "messages": [USER], **copy.deepcopy(more)} if isinstance(more, dict) else more
    try:
        check_chat(Asked({}, body, Memory()))
    except Refused as refused:
        return refused.error.status
    except (AttributeError, LookupError, TypeError):
        return 0
    return None


@pytest.mark.parametrize("name", FINE)
def test_what_is_fine(name: str) -> None:
    assert refusal(FINE[name]) is None


@pytest.mark.parametrize("name", FAULTS)
def test_what_is_wrong(name: str) -> None:
    assert refusal(FAULTS[name]) in (0, 400)


def test_a_body_that_is_no_object() -> None:
    assert refusal([]) == 400
