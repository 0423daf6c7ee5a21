"""The fake provider as a server: paths, keys, models, connections, and the command that runs it by hand."""

from __future__ import annotations

import asyncio
import json
import sys

import anthropic
import openai
import pytest

from llmgateway_server.testing.fake_provider import FakeProvider, FakeReply, cuts
from tests.contract.fake_replies import REPLIES, REQUESTS, anthropic_client, openai_client


async def raw(fake: FakeProvider, head: str, body: bytes = b"") -> tuple[str, bytes]:
    """Returns the status line and the JSON body of an answer to a request as it is written here."""
    host, port = fake.root_url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"{head}\r\nhost: fake\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body)
    answer = (await reader.readuntil(b"\r\n\r\n")).decode()
    length = next(line for line in answer.split("\r\n") if line.startswith("content-length"))
    content = await reader.readexactly(int(length.split(": ")[1]))
    writer.close()
    return answer.split("\r\n")[0], content


async def test_keys_and_models_that_are_wrong_are_refused() -> None:
    chat, messages, responses = (
        {**REQUESTS[name], "model": "fake-2"} for name in ("openai_chat", "anthropic_messages", "openai_responses")
    )
    async with FakeProvider(models=("fake-1",), api_key="sk-right") as fake:
        async with openai_client(fake) as client:
            with pytest.raises(openai.AuthenticationError) as refused:
                await client.chat.completions.create(**REQUESTS["openai_chat"])
            assert refused.value.code == "invalid_api_key"
        async with anthropic_client(fake) as judge:
            with pytest.raises(anthropic.AuthenticationError):
                await judge.messages.create(**messages)
        async with openai_client(fake, "sk-right") as client:
            with pytest.raises(openai.NotFoundError) as missing:
                await client.chat.completions.create(**chat)
            assert missing.value.code == "model_not_found"
            with pytest.raises(openai.BadRequestError) as bad:
                await client.responses.create(**responses)
            assert bad.value.code == "model_not_found"
        async with anthropic_client(fake, "sk-right") as judge:
            with pytest.raises(anthropic.NotFoundError):
                await judge.messages.create(**messages)


async def test_models_are_listed_in_both_shapes() -> None:
    async with FakeProvider(models=("fake-1", "fake-2")) as fake:
        async with openai_client(fake) as client:
            assert [model.id async for model in client.models.list()] == ["fake-1", "fake-2"]
        async with anthropic_client(fake) as judge:
            assert [model.id async for model in judge.models.list()] == ["fake-1", "fake-2"]


async def test_paths_and_methods_that_are_wrong_are_refused() -> None:
    async with FakeProvider() as fake:
        assert await raw(fake, "GET /v1/models HTTP/1.1") == await raw(fake, "POST /v1/chat/completions HTTP/1.1")
        status, body = await raw(fake, "POST /v1/nothing HTTP/1.1")
        assert status.startswith("HTTP/1.1 404")
        assert "error" in json.loads(body)
        status, body = await raw(fake, "POST /v1/nothing HTTP/1.1\r\nanthropic-version: 2023-06-01")
        assert json.loads(body)["error"]["type"] == "not_found_error"
        status, _ = await raw(fake, "GET /v1/messages HTTP/1.1")
        assert status.startswith("HTTP/1.1 405")
        status, body = await raw(fake, "POST /v1/chat/completions HTTP/1.1\r\nauthorization: Bearer k", b"not json")
        assert status.startswith("HTTP/1.1 400")


async def test_a_refused_request_takes_nothing_from_the_script() -> None:
    async with FakeProvider() as fake, openai_client(fake) as client:
        fake.then(FakeReply.of("First."))
        with pytest.raises(openai.BadRequestError):
            await client.chat.completions.create(model="fake-1", messages=[])
        said = await client.chat.completions.create(**REQUESTS["openai_chat"])
        later = await client.chat.completions.create(**REQUESTS["openai_chat"])
    assert said.choices[0].message.content == "First."
    assert later.choices[0].message.content == "Hello from the fake provider."
    assert [received.path for received in fake.requests] == ["/v1/chat/completions"] * 3
    assert fake.requests[1].headers["authorization"] == "Bearer sk-fake"


async def test_answers_may_follow_from_the_request() -> None:
    async with (
        FakeProvider(lambda received: FakeReply.of(received.body["messages"][-1]["content"].upper())) as fake,
        openai_client(fake) as client,
    ):
        said = await client.chat.completions.create(model="fake-1", messages=[{"role": "user", "content": "echo"}])
    assert said.choices[0].message.content == "ECHO"


@pytest.mark.parametrize(
    "cut",
    [cuts.whole, cuts.per_frame, cuts.one_byte, cuts.inside_utf8, cuts.inside_line_ends, *map(cuts.seeded, range(5))],
)
def test_cuts_lose_no_byte(cut: cuts.Cut) -> None:
    from llmgateway_server.testing.fake_provider import anthropic_messages

    body = b"".join(anthropic_messages.frames(REPLIES["every width"], {"model": "fake-1"}))
    pieces = cut(body)
    assert b"".join(pieces) == body
    assert all(pieces)
    assert len(pieces) > 1 or cut is cuts.whole


async def test_it_runs_by_hand() -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "llmgateway_server.testing.fake_provider", "--reply", "By hand."),
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stderr is not None
        url = (await process.stderr.readline()).decode().rpartition(" ")[2].strip()
        async with openai.AsyncOpenAI(
            base_url=url, api_key="k", max_retries=0, http_client=openai.DefaultAsyncHttpxClient(trust_env=False)
        ) as client:
            said = await client.chat.completions.create(**REQUESTS["openai_chat"])
        assert said.choices[0].message.content == "By hand."
    finally:
        process.terminate()
        await process.wait()
