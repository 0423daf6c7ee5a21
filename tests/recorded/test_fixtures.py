"""Hand-written provider answers through a real client and a real gateway, byte by byte; nothing outside is needed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import pytest

from llmgateway.v1 import completion_pb2, message_pb2, usage_pb2
from llmgateway_server.testing.gateway import RunningGateway, running_gateway
from tests.recorded.outcome import ALONE, DEFECTS, Outcome, completed, streamed

pytestmark = pytest.mark.recorded

FIXTURES = Path(__file__).parent / "fixtures"
GREETING = "Grüße aus 東京 🙂"
BROKEN = {"UPSTREAM_RESET", "UPSTREAM_STREAM_INTERRUPTED", "UPSTREAM_MALFORMED"}


@dataclass
class Provider:
    """A server that answers every request with `answer` and closes the connection."""

    answer: bytes = b""
    step: int = 0
    """Bytes per write; 0 writes all at once."""
    port: int = 0
    bodies: list[bytes] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
            self.bodies.append(await reader.readexactly(length))
            step = self.step or len(self.answer) or 1
            for at in range(0, len(self.answer), step):
                writer.write(self.answer[at : at + step])
                await writer.drain()
                await asyncio.sleep(0)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


def chunked(body: bytes, *, complete: bool = True) -> bytes:
    return b"%x\r\n%b\r\n%b" % (len(body), body, b"0\r\n\r\n" if complete else b"") if body else b"0\r\n\r\n"


def stream_head(content_type: str = "text/event-stream; charset=utf-8") -> bytes:
    return f"HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\ntransfer-encoding: chunked\r\n\r\n".encode()


def unary(body: bytes, status: str = "200 OK", headers: str = "", length: int | None = None) -> bytes:
    announced = len(body) if length is None else length
    head = f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {announced}\r\n{headers}\r\n"
    return head.encode() + body


def read(name: str) -> bytes:
    return (FIXTURES / name).read_bytes()


@asynccontextmanager
async def played(answer: bytes, step: int = 0) -> AsyncIterator[tuple[RunningGateway, Provider]]:
    provider = Provider(answer, step)
    server = await asyncio.start_server(provider.serve, "127.0.0.1", 0)
    provider.port = server.sockets[0].getsockname()[1]
    account = {"vendor": "openai", "base_url": f"http://127.0.0.1:{provider.port}/v1", "api_key": "key"}
    async with server, running_gateway({"providers": {"fixture": account}, "records": False, **ALONE}) as gateway:
        yield gateway, provider


def ask() -> completion_pb2.CompleteRequest:
    message = message_pb2.Message(role=message_pb2.ROLE_USER, parts=[message_pb2.Part(text="Hi")])
    return completion_pb2.CompleteRequest(model="fixture/m-1", messages=[message])


def assert_broken(outcome: Outcome, text: str, where: object) -> None:
    assert outcome.code is grpc.StatusCode.UNAVAILABLE, where
    assert outcome.reason in BROKEN, where
    assert text.startswith(outcome.text), where


@pytest.mark.parametrize("step", [0, 1, 7])
async def test_a_stream_with_usage(step: int) -> None:
    async with played(stream_head() + chunked(read("text_with_usage.sse")), step) as (gateway, provider):
        outcome = await streamed(gateway, ask())
    assert (outcome.text, outcome.finish_reason, outcome.provider_model) == (GREETING, "stop", "m-1")
    assert outcome.usage == usage_pb2.Usage(
        input_token_count=9,
        output_token_count=4,
        cache_read_token_count=0,
        reasoning_token_count=0,
        source=usage_pb2.USAGE_SOURCE_REPORTED,
    )
    assert b'"include_usage":true' in provider.bodies[0]


@pytest.mark.parametrize("step", [0, 1])
async def test_a_stream_without_usage_is_estimated(step: int) -> None:
    async with played(stream_head() + chunked(read("text_without_usage.sse")), step) as (gateway, _):
        outcome = await streamed(gateway, ask())
    assert (outcome.text, outcome.finish_reason) == ("Hello", "length")
    assert outcome.usage.source == usage_pb2.USAGE_SOURCE_ESTIMATED
    assert not outcome.usage.HasField("cache_read_token_count")


@pytest.mark.parametrize("step", [0, 1])
async def test_a_refusal_is_not_text(step: int) -> None:
    async with played(stream_head() + chunked(read("refusal.sse")), step) as (gateway, _):
        outcome = await streamed(gateway, ask())
    assert (outcome.text, outcome.refusal, outcome.finish_reason) == ("", "I cannot do that.", "stop")


@pytest.mark.parametrize("step", [0, 1])
async def test_tool_calls_side_by_side(step: int) -> None:
    async with played(stream_head() + chunked(read("tools.sse")), step) as (gateway, _):
        outcome = await streamed(gateway, ask())
    assert outcome.tool_calls == [("call_a", "weather", '{"city":"Köln"}'), ("call_b", "clock", "{}")]
    assert outcome.finish_reason == "tool_calls"


@pytest.mark.parametrize("step", [0, 1])
async def test_an_error_inside_a_stream(step: int) -> None:
    async with played(stream_head() + chunked(read("error_inside.sse")), step) as (gateway, _):
        outcome = await streamed(gateway, ask())
    assert (outcome.code, outcome.reason) == (grpc.StatusCode.UNAVAILABLE, "UPSTREAM_OVERLOADED")
    assert outcome.text == "The answer"


@pytest.mark.parametrize("stream", [False, True])
async def test_too_many_requests_with_a_pause(stream: bool) -> None:
    answer = unary(read("rate_limited.json"), "429 Too Many Requests", "retry-after: 7\r\n")
    async with played(answer) as (gateway, _):
        outcome = await (streamed if stream else completed)(gateway, ask())
    assert (outcome.code, outcome.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "UPSTREAM_RATE_LIMITED")
    assert outcome.retry_after_s == pytest.approx(7.0, abs=0.5)


@pytest.mark.parametrize("step", [0, 1])
async def test_a_whole_answer(step: int) -> None:
    async with played(unary(read("unary.json")), step) as (gateway, _):
        outcome = await completed(gateway, ask())
    assert (outcome.text, outcome.finish_reason) == (GREETING, "stop")
    assert outcome.usage.HasField("reasoning_token_count")


async def test_a_tool_call_without_an_id_gets_one() -> None:
    async with played(unary(read("unary_tools.json"))) as (gateway, _):
        first, second = [await completed(gateway, ask()) for _ in range(2)]
    for outcome in (first, second):
        assert [name for _, name, _ in outcome.tool_calls] == ["weather", "clock"]
        assert outcome.finish_reason == "tool_calls"
        assert outcome.tool_calls[0][0] == "call_a"
    ids = {call[0] for outcome in (first, second) for call in outcome.tool_calls}
    assert len(ids) == 3, "an id is unique in a conversation of several calls"
    assert all(ids)


async def test_an_error_with_status_200() -> None:
    async with played(unary(read("error_in_200.json"))) as (gateway, _):
        outcome = await completed(gateway, ask())
    assert (outcome.code, outcome.reason) == (grpc.StatusCode.UNAVAILABLE, "UPSTREAM_ERROR")


async def test_a_web_page_instead_of_an_answer() -> None:
    page = b"<html><body>502 Bad Gateway</body></html>"
    async with played(unary(page)) as (gateway, provider):
        whole = await completed(gateway, ask())
        wrong_type = await streamed(gateway, ask())
        provider.answer = unary(page, "502 Bad Gateway")
        refused = await completed(gateway, ask())
    assert (whole.reason, wrong_type.reason) == ("UPSTREAM_MALFORMED", "UPSTREAM_MALFORMED")
    assert (refused.code, refused.reason) == (grpc.StatusCode.UNAVAILABLE, "UPSTREAM_ERROR")


@pytest.mark.parametrize("place", ["id", "content", "finish_reason"])
async def test_bytes_that_are_not_utf8_are_no_defect_of_ours(place: str) -> None:
    values = {"id": b"x", "content": b"x", "finish_reason": b"stop", place: b"\xff\xfe"}
    said = b'{"id":"%(id)b","choices":[{"%(key)b":{"content":"%(content)b"},"finish_reason":"%(finish_reason)b"}]}'
    fill = {name.encode(): value for name, value in values.items()}
    async with played(unary(said % {**fill, b"key": b"message"})) as (gateway, provider):
        whole = await completed(gateway, ask())
        event = b"data: " + said % {**fill, b"key": b"delta"} + b"\n\ndata: [DONE]\n\n"
        provider.answer = stream_head() + chunked(event)
        stream = await streamed(gateway, ask())
    for outcome in (whole, stream):
        assert outcome.code not in DEFECTS
        assert outcome.reason == "UPSTREAM_MALFORMED"


@pytest.mark.parametrize("name", ["text_with_usage.sse", "tools.sse"])
@pytest.mark.parametrize("clean", [False, True])
async def test_a_stream_cut_at_any_byte_is_an_error(name: str, clean: bool) -> None:
    body = read(name)
    # where the body ends as announced the last line needs no end; where it breaks off more might have followed
    terminator = body.index(b"[DONE]") + len(b"[DONE]") if clean else len(body)
    async with played(b"") as (gateway, provider):
        for at in range(terminator):
            if at:
                provider.answer = stream_head() + chunked(body[:at], complete=clean)
            else:
                provider.answer = stream_head() + (b"0\r\n\r\n" if clean else b"")
            assert_broken(await streamed(gateway, ask()), GREETING, at)
        provider.answer = stream_head() + chunked(body[:terminator], complete=clean)
        assert (await streamed(gateway, ask())).code is grpc.StatusCode.OK


async def test_a_response_cut_anywhere_in_its_framing_is_an_error() -> None:
    body = read("text_without_usage.sse")
    whole = stream_head() + chunked(body[:-2])  # the last event lacks its empty line
    reaches_end = whole.index(b"[DONE]") + len(b"[DONE]")
    async with played(b"") as (gateway, provider):
        for at in [*range(len(stream_head()) + 8), *range(reaches_end - 12, reaches_end)]:
            provider.answer = whole[:at]
            assert_broken(await streamed(gateway, ask()), "Hello", at)


async def test_a_whole_answer_cut_at_any_byte_is_an_error() -> None:
    body = read("unary.json").rstrip()
    async with played(b"") as (gateway, provider):
        for at in range(len(body)):
            provider.answer = unary(body[:at], length=len(body))
            assert_broken(await completed(gateway, ask()), "", at)
        for at in range(0, len(body), 7):
            provider.answer = unary(body[:at])
            assert_broken(await completed(gateway, ask()), "", at)
