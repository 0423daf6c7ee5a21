"""Streams that break: P7 cut anywhere, P8 without their last event, P10 errors after a status of 200."""

from __future__ import annotations

import time
from collections.abc import Iterator

import grpc
import pytest

from llmgateway_server.testing.fake_provider import FakeError, FakeReply, FakeToolCall, Format
from llmgateway_server.testing.fake_provider.endpoints import MANNERS
from llmgateway_server.testing.upstream import (
    END,
    Exchange,
    Step,
    Upstream,
    chunk,
    close,
    event,
    head,
    json_answer,
    raw,
    reset,
)
from tests.faults.kit import BUSY, LoopLag, percentile
from tests.faults.provider_kit import (
    BOTH,
    EVENTS_HEAD,
    JSON_HEAD,
    SPOKEN,
    STREAM_HEAD,
    UNAVAILABLE,
    Ended,
    Planted,
    assert_planted,
    bytes_of,
    echo,
    frames_of,
    planted,
    said,
)

EOF_S = 0.02
"""How soon a cut is told (docs/reliability.md)."""
DIALECTS = pytest.mark.parametrize("dialect", sorted(SPOKEN))

# --- P7 ----------------------------------------------------------------------------------------------------------

TEXTS = ("ab", "cd")
SHORT_HEAD = head(200, {**EVENTS_HEAD, "transfer-encoding": "chunked"})
STREAM: tuple[Step, ...] = (
    SHORT_HEAD,
    *(event({"choices": [{"delta": {"content": text}}]}) for text in TEXTS),
    event({"choices": [{"finish_reason": "stop"}]}),
    event({"usage": {"prompt_tokens": 900, "completion_tokens": 900}}),
    event("[DONE]"),
    END,
)
ANSWER = b'{"choices":[{"message":{"content":"ab"},"finish_reason":"stop"}]}'
ANSWERS: dict[str, tuple[Step, ...]] = {
    "length": (head(200, {**JSON_HEAD, "content-length": str(len(ANSWER))}), raw(ANSWER)),
    "chunks": (
        head(200, {**JSON_HEAD, "transfer-encoding": "chunked"}),
        *(chunk(ANSWER[at : at + 9]) for at in range(0, len(ANSWER), 9)),
        END,
    ),
}


class Cuts:
    """A script that sends more of the same bytes with every request and then ends the connection."""

    def __init__(self, data: bytes, end: Step) -> None:
        self.offset = 0
        self.cut_at_s = 0.0
        self._data = data
        self._end = end

    async def __call__(self, exchange: Exchange) -> None:
        if self.offset:
            await raw(self._data[: self.offset])(exchange)
        self.cut_at_s = time.monotonic()
        await self._end(exchange)

    async def at_every_offset(self, it: Planted, *, streaming: bool) -> list[tuple[int, Ended]]:
        """Makes a call for every offset; the whole answer is the last."""
        ended = []
        late_s = []
        async with LoopLag() as lag:
            for offset in range(len(self._data) + 1):
                self.offset = offset
                ended.append((offset, await it.call(streaming=streaming)))
                late_s.append(time.monotonic() - self.cut_at_s)
        assert percentile(late_s, 0.5) <= EOF_S * BUSY + lag.worst_s, sorted(late_s)
        return ended


async def ends_of_events(stream: tuple[Step, ...]) -> list[int]:
    """Returns how many bytes it takes until each event has arrived: all of its chunk but the line end behind it."""
    sizes = [len(await bytes_of([step])) for step in stream]
    return [sum(sizes[: i + 1]) - 2 for i in range(1, len(sizes) - 1)]


@pytest.mark.parametrize("end", [close, reset], ids=["FIN", "RST"])
async def test_p7_a_stream_cut_at_every_byte(end: Step) -> None:
    data = await bytes_of(STREAM)
    ends = await ends_of_events(STREAM)
    cuts = Cuts(data, end)
    async with Upstream(cuts) as upstream, planted(upstream) as it:
        for offset, ended in await cuts.at_every_offset(it, streaming=True):
            arrived = sum(offset >= end for end in ends)
            text = "".join(TEXTS[:arrived])
            if end is reset and ended.text != text:  # a reset may overtake what was sent before it
                assert text.startswith(ended.text)
                text, arrived = ended.text, 0
            if arrived == len(ends):
                assert (ended.code, ended.attempt["charge"]) == (grpc.StatusCode.OK, "CU"), offset
            elif text:
                ended.assert_broken("UPSTREAM_STREAM_INTERRUPTED", text)
            else:
                ended.assert_refused("UPSTREAM_RESET")
        assert_planted(upstream.requests[0])
        assert len({exchange.writer for exchange in upstream.exchanges}) == len(upstream.exchanges)


@pytest.mark.parametrize("end", [close, reset], ids=["FIN", "RST"])
@pytest.mark.parametrize("framing", list(ANSWERS))
async def test_p7_a_unary_answer_cut_at_every_byte(framing: str, end: Step) -> None:
    data = await bytes_of(ANSWERS[framing])
    cuts = Cuts(data, end)
    async with Upstream(cuts) as upstream, planted(upstream) as it:
        *cut, (_, complete) = await cuts.at_every_offset(it, streaming=False)
    for _, ended in cut:
        ended.assert_refused("UPSTREAM_RESET")
    assert (complete.text, complete.reason) == ("ab", "") or end is reset


async def test_p7_a_stream_without_framing_cut_at_every_byte() -> None:
    """The end of the connection is then the end of the body, and only the last event tells a whole stream."""
    body = b"".join([(await bytes_of([step])).split(b"\r\n")[1] for step in STREAM[1:-1]])
    begin = await bytes_of([head(200, EVENTS_HEAD)])
    cuts = Cuts(body, close)

    async def script(exchange: Exchange) -> None:
        await raw(begin)(exchange)
        await cuts(exchange)

    async with Upstream(script) as upstream, planted(upstream) as it:
        for offset, ended in await cuts.at_every_offset(it, streaming=True):
            whole = offset >= len(body) - len(b"\n\n")
            assert (ended.code is grpc.StatusCode.OK) == whole, offset
            if ended.text and not whole:
                ended.assert_broken("UPSTREAM_STREAM_INTERRUPTED", ended.text)
            assert "".join(TEXTS).startswith(ended.text)


# --- P8 ----------------------------------------------------------------------------------------------------------

CALLED = FakeReply.of("hello", FakeToolCall("call_1", "weather", '{"city":"Paris","days":[1,2,3]}'))


def prefixes(frames: list[bytes]) -> Iterator[list[Step]]:
    """Returns streams that end well as HTTP, each one event longer; the last is whole."""
    for count in range(len(frames) + 1):
        yield [STREAM_HEAD, *(chunk(frame) for frame in frames[:count]), END]


@DIALECTS
async def test_p8_the_end_comes_before_the_last_event(dialect: str) -> None:
    frames = frames_of(dialect, CALLED)
    _, *cut, whole = prefixes(frames)  # a body of nothing at all is P27
    outcomes = []
    async with Upstream() as upstream, planted(upstream, dialect=dialect) as it:
        for script in cut:
            upstream.then(script)
            ended = await it.call(streaming=True)
            outcomes.append(bool(ended.text))
            if ended.text:
                ended.assert_broken("UPSTREAM_STREAM_INTERRUPTED", "hello"[: len(ended.text)])
            else:
                ended.assert_refused("UPSTREAM_RESET")
        upstream.then(whole)
        ended = await it.call(streaming=True)
        assert_planted(upstream.requests[0])
    assert (ended.code, ended.text) == (grpc.StatusCode.OK, "hello")
    assert ended.tool_arguments == CALLED.parts[1].arguments_json  # type: ignore[union-attr]
    assert outcomes == sorted(outcomes)
    assert outcomes[-1]


@DIALECTS
async def test_p8_half_of_a_tool_call_is_never_whole(dialect: str) -> None:
    """Not even where the connection, with its last bytes, says that all is well."""
    frames = frames_of(dialect, FakeReply.of(FakeToolCall("call_1", "pay", '{"amount":1000}')))
    brought = 0
    async with Upstream() as upstream, planted(upstream, dialect=dialect) as it:
        for script in list(prefixes(frames))[1:-1]:
            upstream.then(script)
            ended = await it.call(streaming=True)
            assert ended.code is UNAVAILABLE
            assert ended.attempt["outcome"] == "failed"
            assert '{"amount":1000}'.startswith(ended.tool_arguments)
            brought += bool(ended.tool_arguments)
    assert brought


# --- P10 ---------------------------------------------------------------------------------------------------------

EXHAUSTED, PRECONDITION = grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.FAILED_PRECONDITION
OPENAI_ERRORS = {
    "server_error": ("UPSTREAM_ERROR", UNAVAILABLE),
    "overloaded_error": ("UPSTREAM_OVERLOADED", UNAVAILABLE),
    "rate_limit_error": ("UPSTREAM_RATE_LIMITED", EXHAUSTED),
    "insufficient_quota": ("PROVIDER_QUOTA_EXHAUSTED", PRECONDITION),
    "authentication_error": ("PROVIDER_AUTH_FAILED", PRECONDITION),
    "never heard of": ("UPSTREAM_ERROR", UNAVAILABLE),
}
ANTHROPIC_ERRORS = {
    "api_error": ("UPSTREAM_ERROR", UNAVAILABLE),
    "overloaded_error": ("UPSTREAM_OVERLOADED", UNAVAILABLE),
    "rate_limit_error": ("UPSTREAM_RATE_LIMITED", EXHAUSTED),
    "authentication_error": ("PROVIDER_AUTH_FAILED", PRECONDITION),
    "never heard of": ("UPSTREAM_ERROR", UNAVAILABLE),
}
BEDROCK_ERRORS = {
    "InternalServerException": ("UPSTREAM_ERROR", UNAVAILABLE),
    "ModelStreamErrorException": ("UPSTREAM_ERROR", UNAVAILABLE),
    "ServiceUnavailableException": ("UPSTREAM_OVERLOADED", UNAVAILABLE),
    "ThrottlingException": ("UPSTREAM_RATE_LIMITED", EXHAUSTED),
    "AccessDeniedException": ("PROVIDER_AUTH_FAILED", PRECONDITION),
    "NeverHeardOfException": ("UPSTREAM_ERROR", UNAVAILABLE),
}
ERRORS: dict[Format, dict[str, tuple[str, grpc.StatusCode]]] = {
    "openai_chat": OPENAI_ERRORS,
    "openai_responses": OPENAI_ERRORS,
    "anthropic_messages": ANTHROPIC_ERRORS,
    "bedrock_converse": BEDROCK_ERRORS,
}


def failing(dialect: Format, kind: str, *, after: int, reply: FakeReply) -> Step:
    """Returns a script that sends some frames of a reply and then an error that quotes the request."""

    async def step(exchange: Exchange) -> None:
        told = FakeError(type=kind, message=echo(exchange), in_stream_after=after, reply=reply)
        written = MANNERS[dialect].error_frames(told, exchange.received.body, "")
        for each in (STREAM_HEAD, *map(chunk, written), END):
            await each(exchange)

    return step


@pytest.mark.parametrize(
    ("dialect", "kind"), [(dialect, kind) for dialect, kinds in ERRORS.items() for kind in kinds if dialect in SPOKEN]
)
async def test_p10_an_error_inside_a_stream_has_its_own_class(dialect: Format, kind: str) -> None:
    reason, code = ERRORS[dialect][kind]
    reply = FakeReply.of("hello" * 10)
    middle = len(frames_of(dialect, reply)) // 2
    async with Upstream() as upstream, planted(upstream, dialect=dialect) as it:
        upstream.then(failing(dialect, kind, after=0, reply=reply), failing(dialect, kind, after=middle, reply=reply))
        before, after = [await it.call(streaming=True) for _ in range(2)]
        assert_planted(upstream.requests[0])
    before.assert_refused(reason, code)
    assert after.text
    after.assert_broken(reason, ("hello" * 10)[: len(after.text)], code)


@BOTH
async def test_p10_an_error_instead_of_an_answer(streaming: bool) -> None:
    async def script(exchange: Exchange) -> None:
        problem = {"error": {"message": echo(exchange), "type": "server_error", "code": "rate_limit_exceeded"}}
        if streaming:
            for step in (STREAM_HEAD, event(problem), END):
                await step(exchange)
        else:
            await json_answer(problem)(exchange)

    async with Upstream(script) as upstream, planted(upstream) as it:
        ended = await it.call(streaming=streaming)
    ended.assert_refused("UPSTREAM_RATE_LIMITED", EXHAUSTED)


async def test_p10_what_follows_an_error_is_not_read() -> None:
    """Neither more content nor a last event makes a failed stream a good one."""
    script = [*said("so "), event({"error": {"type": "server_error"}}), event({"choices": []}), event("[DONE]"), END]
    async with Upstream(script) as upstream, planted(upstream) as it:
        ended = await it.call(streaming=True)
    ended.assert_broken("UPSTREAM_ERROR", "so ")
