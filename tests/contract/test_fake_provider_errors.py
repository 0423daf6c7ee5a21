"""The fake's failures, judged by the vendors' own clients: each becomes the exception that the real one becomes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import anthropic
import openai
import pytest

from llmgateway_server.testing import upstream
from llmgateway_server.testing.fake_provider import FakeError, FakeProvider, FakeReply
from llmgateway_server.testing.fake_provider import errors as fake_errors
from tests.contract.fake_replies import ASKED, MODEL, REQUESTS, anthropic_client, openai_client

OPENAI: dict[int, tuple[type[openai.APIStatusError], str | None]] = {
    400: (openai.BadRequestError, None),
    401: (openai.AuthenticationError, "invalid_api_key"),
    403: (openai.PermissionDeniedError, "unsupported_country_region_territory"),
    404: (openai.NotFoundError, "model_not_found"),
    429: (openai.RateLimitError, "rate_limit_exceeded"),
    500: (openai.InternalServerError, None),
    503: (openai.InternalServerError, None),
}
ANTHROPIC: dict[int, tuple[type[anthropic.APIStatusError], str]] = {
    400: (anthropic.BadRequestError, "invalid_request_error"),
    401: (anthropic.AuthenticationError, "authentication_error"),
    403: (anthropic.PermissionDeniedError, "permission_error"),
    404: (anthropic.NotFoundError, "not_found_error"),
    413: (anthropic.APIStatusError, "request_too_large"),
    429: (anthropic.RateLimitError, "rate_limit_error"),
    500: (anthropic.InternalServerError, "api_error"),
    504: (anthropic.InternalServerError, "timeout_error"),
    529: (anthropic.InternalServerError, "overloaded_error"),
}


@pytest.mark.parametrize("status", OPENAI)
async def test_openai_statuses(status: int) -> None:
    kind, code = OPENAI[status]
    async with FakeProvider() as fake, openai_client(fake) as client:
        fake.then(FakeError(status), FakeError(status))
        with pytest.raises(kind) as chat:
            await client.chat.completions.create(**REQUESTS["openai_chat"])
        with pytest.raises(kind) as response:
            await client.responses.create(**REQUESTS["openai_responses"], stream=True)
    assert (chat.value.status_code, chat.value.code) == (status, code)
    assert response.value.code == code
    assert chat.value.request_id == "req_fake1"


@pytest.mark.parametrize("status", ANTHROPIC)
async def test_anthropic_statuses(status: int) -> None:
    kind, name = ANTHROPIC[status]
    async with FakeProvider() as fake, anthropic_client(fake) as client:
        fake.then(FakeError(status))
        with pytest.raises(kind) as raised:
            await client.messages.create(**REQUESTS["anthropic_messages"])
    assert raised.value.status_code == status
    assert raised.value.type == name
    assert raised.value.request_id == "req_fake1"
    assert raised.value.response.headers["x-should-retry"] == ("true" if status == 429 or status >= 500 else "false")


async def test_everything_about_an_error_can_be_said() -> None:
    quota = FakeError(
        429, "insufficient_quota", "insufficient_quota", "Nothing left.", "model", {"retry-after-ms": "7"}
    )
    async with FakeProvider() as fake, openai_client(fake) as client:
        fake.then(quota)
        with pytest.raises(openai.RateLimitError, match="Nothing left") as raised:
            await client.chat.completions.create(**REQUESTS["openai_chat"])
    error = raised.value
    assert (error.type, error.code, error.param) == ("insufficient_quota", "insufficient_quota", "model")
    assert error.response.headers["retry-after-ms"] == "7"


async def test_errors_inside_a_stream_of_messages() -> None:
    request = REQUESTS["anthropic_messages"]
    async with FakeProvider() as fake, anthropic_client(fake) as client:
        fake.then(FakeError(529, in_stream_after=4, reply=FakeReply.of("Hello there")))
        said = []
        with pytest.raises(anthropic.APIStatusError) as raised:  # noqa: PT012 - the stream begins well
            async with client.messages.stream(**request) as stream:
                async for event in stream:
                    said.append(event.type)  # noqa: PERF401 - what was said before the error counts
    assert said == ["message_start", "content_block_start", "content_block_delta", "text"]
    assert raised.value.status_code == 200
    assert raised.value.type == "overloaded_error"


async def test_errors_inside_a_stream_of_chat_completions() -> None:
    async with FakeProvider() as fake, openai_client(fake) as client:
        fake.then(FakeError(500, message="Gone.", in_stream_after=3))
        stream = await client.chat.completions.create(**REQUESTS["openai_chat"], stream=True)
        count, error = await read(stream)
    assert count == 3
    assert error is not None
    assert (error.message, error.type) == ("Gone.", "server_error")


RESPONSES_FORMS = {"error+failed": openai.APIError, "failed": None, "error": None}


@pytest.mark.parametrize("form", RESPONSES_FORMS)
async def test_errors_inside_a_stream_of_responses(form: Any) -> None:
    failure = FakeError(500, code="server_error", message="Gone.", in_stream_after=4, responses_form=form)
    async with FakeProvider() as fake, openai_client(fake) as client:
        fake.then(failure)
        stream = await client.responses.create(**REQUESTS["openai_responses"], stream=True)
        events: list[Any] = []
        count, error = await read(stream, events)
    if form == "error+failed":
        assert count == 4
        assert error is not None
        assert error.code == "server_error"
    else:
        assert error is None
        assert [event.sequence_number for event in events] == list(range(5))
        last = events[-1]
        assert last.type == ("response.failed" if form == "failed" else "error")
        problem = last.response.error if form == "failed" else last
        assert (problem.code, problem.message) == ("server_error", "Gone.")


async def read(stream: AsyncIterator[Any], into: list[Any] | None = None) -> tuple[int, openai.APIError | None]:
    count = 0
    try:
        async for event in stream:
            count += 1
            if into is not None:
                into.append(event)
    except openai.APIError as error:
        return count, error
    return count, None


async def test_unary_calls_get_a_status_for_an_error_inside_a_stream() -> None:
    async with FakeProvider() as fake, anthropic_client(fake) as client:
        fake.then(FakeError(529, in_stream_after=2))
        with pytest.raises(anthropic.InternalServerError):
            await client.messages.create(**REQUESTS["anthropic_messages"])


async def test_token_counts_fail_too() -> None:
    async with FakeProvider() as fake, anthropic_client(fake) as client:
        fake.input_tokens = FakeError(429)
        with pytest.raises(anthropic.RateLimitError):
            await client.messages.count_tokens(model=MODEL, messages=ASKED)


async def test_raw_steps_play_what_no_vendor_would() -> None:
    async with FakeProvider() as fake, openai_client(fake) as client:
        fake.then([upstream.STREAM_HEAD, upstream.event(upstream.delta("a")), upstream.reset], upstream.reset)
        stream = await client.chat.completions.create(**REQUESTS["openai_chat"], stream=True)
        count, error = await read(stream)
        assert isinstance(error, openai.APIConnectionError)
        assert count <= 1
        with pytest.raises(openai.APIConnectionError):
            await client.chat.completions.create(**REQUESTS["openai_chat"])


async def test_steps_may_play_a_reply_when_it_is_time() -> None:
    go = asyncio.Event()

    async def late(exchange: upstream.Exchange) -> None:
        await go.wait()
        await fake.play(exchange, FakeReply.of("At last."))

    async with FakeProvider() as fake, openai_client(fake) as client:
        fake.then(late)
        call = asyncio.create_task(client.chat.completions.create(**REQUESTS["openai_chat"]))
        received = await fake.request()
        assert received.body["model"] == MODEL
        go.set()
        assert (await call).choices[0].message.content == "At last."


def test_an_unknown_status_is_called_as_its_hundred() -> None:
    assert fake_errors.problem(FakeError(418), "anthropic_messages")["type"] == "invalid_request_error"
    assert fake_errors.problem(FakeError(599), "openai_chat")["type"] == "server_error"
