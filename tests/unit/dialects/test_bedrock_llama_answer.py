"""What Meta's models answer: whole, streamed, measured by the service, and broken."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmgateway_server.core.errors import UpstreamError
from llmgateway_server.core.events import FinishReason
from llmgateway_server.core.reasons import Reason
from llmgateway_server.core.usage import Usage
from llmgateway_server.providers.dialects.bedrock_llama import BedrockLlama
from llmgateway_server.testing.fake_provider.bedrock_converse_frames import event
from tests.unit.dialects.bedrock_invoke_kit import asking, broken_off, chunk, stream
from tests.unit.dialects.kit import (
    Folded,
    Json,
    Reader,
    assert_classified,
    assert_never_whole,
    assert_same_however_cut,
    assert_told_first,
    error_bodies,
)

DIALECT = BedrockLlama()
READER = Reader(DIALECT)
LLAMA = "meta.llama3-8b-instruct-v1:0"
WHOLE = {"generation": "Hi there", "prompt_token_count": 7, "generation_token_count": 2, "stop_reason": "stop"}


def piece(text: Any, count: Any, stop: Any = None, prompt: Any = None) -> Json:
    return {
        "generation": text,
        "prompt_token_count": prompt,
        "generation_token_count": count,
        "stop_reason": stop,
    }


PIECES = [piece("Hi", 1, prompt=7), piece(" there", 2), piece("", 2, "stop")]
COUNTED = {"inputTokenCount": 7, "outputTokenCount": 2, "invocationLatency": 9, "firstByteLatency": 3}


def told(folded: Folded) -> tuple[list[Any], Usage | None, FinishReason, str]:
    assert folded.finished is not None
    return folded.texts, folded.usage, folded.finished.finish_reason, folded.finished.provider_finish_reason


@pytest.mark.parametrize("metrics", [None, COUNTED])
def test_whole_and_streamed_are_the_same_however_cut(metrics: Json | None) -> None:
    written = stream(PIECES, metrics)
    bounds = list(itertools.accumulate(len(chunk(each)) for each in PIECES[:-1]))
    assert_same_however_cut(
        READER,
        b'{"generation":"Hi there","prompt_token_count":7,"generation_token_count":2,"stop_reason":"stop"}',
        written,
        bounds,
    )
    assert told(READER.streamed(written)) == (["Hi there"], Usage(7, 2), FinishReason.STOP, "stop")


@pytest.mark.parametrize(
    ("native", "reason"),
    [("stop", FinishReason.STOP), ("length", FinishReason.LENGTH), ("content_filter", FinishReason.UNSPECIFIED)],
)
def test_stop_reasons(native: str, reason: FinishReason) -> None:
    for folded in (
        READER.whole(WHOLE | {"stop_reason": native}),
        READER.streamed(stream([*PIECES[:2], piece("", 2, native)])),
    ):
        assert told(folded)[2:] == (reason, native)


def test_counts_of_the_service_are_used_where_the_model_has_none() -> None:
    bare = [piece("Hi", None), piece("", None, "stop")]
    counted = {
        "inputTokenCount": 3,
        "outputTokenCount": 1,
        "cacheReadInputTokenCount": 4,
        "cacheWriteInputTokenCount": 2,
    }
    assert READER.streamed(stream(bare, counted)).usage == Usage(
        9, 1, cache_read_token_count=4, cache_write_5m_token_count=2
    )
    assert READER.streamed(stream(bare)).usage is None
    assert READER.streamed(stream(bare, {"inputTokenCount": "many"})).usage is None
    half = [piece("Hi", 5), piece("", 5, "stop")]
    assert READER.streamed(stream(half, {"inputTokenCount": 3, "outputTokenCount": 1})).usage == Usage(3, 5)


def test_absurd_counts_are_absent() -> None:
    assert READER.whole(WHOLE | {"prompt_token_count": -1, "generation_token_count": 2**60}).usage is None
    assert READER.whole(WHOLE | {"prompt_token_count": "7"}).usage == Usage(None, 2)


def test_a_repeated_conversation_is_said_once() -> None:
    attempt = asking(LLAMA, "What is it?", streaming=True)
    prompt = (
        "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nWhat is it?<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n"
    )
    grown = [piece(prompt + said, count) for count, said in enumerate(("", "It", "It is", "It is old.<|eot_id|>"))]
    for last in (piece("", 9, "length"), piece(prompt + "It is old.<|eot_id|>Next question", 9, "length")):
        folded = READER.streamed(stream([*grown, last]), attempt=attempt)
        assert told(folded) == (["It is old."], Usage(None, 9), FinishReason.STOP, "length")
    whole = READER.whole(WHOLE | {"generation": prompt + "It is old.<|eot_id|>Next"}, asking(LLAMA, "What is it?"))
    assert told(whole) == (["It is old."], Usage(7, 2), FinishReason.STOP, "stop")


def test_empty_and_unknown_events_say_nothing() -> None:
    noise = [event("initial-response", b"{}"), event("chunk", b'{"p":"abc"}'), event("chunk", b'{"bytes":null}')]
    written = noise[0] + chunk(PIECES[0]) + noise[1] + noise[2] + stream(PIECES[1:])
    assert READER.streamed(written) == READER.streamed(stream(PIECES))


def test_half_a_surrogate_pair_is_a_replacement_character() -> None:
    body = rb'{"generation":"a\ud83db","generation_token_count":2,"stop_reason":"stop"}'
    assert READER.whole(body).texts == READER.streamed(chunk(body)).texts == ["a\ufffdb"]


def test_chunks_may_hold_counts_alone() -> None:
    assert READER.streamed(stream([piece(None, None, prompt=7), *PIECES])) == READER.streamed(stream(PIECES))
    with pytest.raises(UpstreamError):
        READER.whole({"stop_reason": "stop"})


def test_an_answer_of_no_words_is_whole() -> None:
    assert told(READER.whole(WHOLE | {"generation": ""})) == ([], Usage(7, 2), FinishReason.STOP, "stop")
    assert told(READER.streamed(stream([piece("", 0, "stop", 7)]))) == ([], Usage(7, 0), FinishReason.STOP, "stop")


# ---------------------------------------------------------------------------------------------------------------------
# What goes wrong
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"generation":"Hi"}', [piece("Hi", 1)]),
        (b'{"generation":7,"stop_reason":"stop"}', [piece(7, 1, "stop")]),
        (b"{}", [{}]),
        (b"[]", [[]]),
        (b'{"generation":"H', [b'{"generation":"H']),
    ],
)
def test_what_cannot_be_an_answer_is_none(body: bytes, said: list[Any]) -> None:
    assert_never_whole(READER, body, b"".join(map(chunk, said)))


def test_a_stream_that_breaks_off_is_no_answer() -> None:
    written = stream(PIECES, COUNTED)
    for stop in range(len(written)):
        with pytest.raises(UpstreamError) as caught:
            READER.read_stream(written[:stop])
        assert caught.value.reason in (Reason.UPSTREAM_STREAM_INTERRUPTED, Reason.UPSTREAM_MALFORMED)


@pytest.mark.parametrize("payload", [b"", b"{", b'{"bytes":7}', b'{"bytes":"?"}', b'{"bytes":"eyJ"}', b"[]"])
def test_chunks_that_cannot_be_unwrapped_are_errors(payload: bytes) -> None:
    with pytest.raises(UpstreamError) as caught:
        READER.read_stream(event("chunk", payload))
    assert caught.value.reason is Reason.UPSTREAM_MALFORMED


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("throttlingException", Reason.UPSTREAM_RATE_LIMITED),
        ("modelStreamErrorException", Reason.UPSTREAM_ERROR),
        ("modelTimeoutException", Reason.UPSTREAM_TIMEOUT),
        ("serviceUnavailableException", Reason.UPSTREAM_OVERLOADED),
        ("validationException", Reason.UPSTREAM_REJECTED_REQUEST),
    ],
)
def test_exceptions_of_the_service_end_a_stream(name: str, reason: Reason) -> None:
    assert_told_first(READER.decoder(), chunk(PIECES[0]) + broken_off(name, "x"), reason)
    with pytest.raises(UpstreamError) as caught:
        READER.read_stream(broken_off(name, "x"))
    assert caught.value.reason is reason


@given(st.integers(100, 999), error_bodies(["message", "__type"], ["message"]))
def test_any_refusal_can_be_told(status: int, body: bytes) -> None:
    assert_classified(DIALECT, status, body)


def test_refusals_are_told_by_their_header() -> None:
    headers = {"x-amzn-errortype": "ExpiredTokenException:http://internal.amazon.com/"}
    error = DIALECT.decode_error(403, headers, b'{"message":"x"}', now_s=0.0)
    assert error.reason is Reason.PROVIDER_AUTH_FAILED
