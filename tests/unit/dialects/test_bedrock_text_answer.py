"""What the older text models answer, family by family: whole, streamed, and counted by the service."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import pytest

from llmgateway_server.core.calls import Attempt
from llmgateway_server.core.errors import UpstreamError
from llmgateway_server.core.events import FinishReason
from llmgateway_server.core.reasons import Reason
from llmgateway_server.core.usage import Usage
from llmgateway_server.providers.dialects.bedrock_text import BedrockText
from llmgateway_server.providers.dialects.bedrock_text.places import found_at
from llmgateway_server.providers.dialects.dialect import HeaderReader, Quirks
from llmgateway_server.testing.fake_provider import FakeReply, FakeUsage, bedrock_text
from llmgateway_server.testing.fake_provider.bedrock_invoke import count_headers
from tests.unit.dialects.bedrock_invoke_kit import asking, broken_off, chunk, stream
from tests.unit.dialects.kit import Folded, Reader, assert_never_whole, fold

DIALECT = BedrockText()
READER = Reader(DIALECT)
MODELS = {
    "claude": "anthropic.claude-v2:1",
    "titan": "amazon.titan-text-express-v1",
    "command": "cohere.command-text-v14",
    "command_r": "cohere.command-r-v1:0",
    "jurassic": "ai21.j2-ultra-v1",
    "mistral": "mistral.mixtral-8x7b-instruct-v0:1",
    "deepseek": "us.deepseek.r1-v1:0",
}
STREAMED = [name for name in MODELS if name != "jurassic"]
COUNTED = {"inputTokenCount": 3, "outputTokenCount": 2}
REPLY = FakeReply.of(" Hello, Zürich 😀", usage=FakeUsage(11, 7))


def whole(model: str, answer: Any, headers: Mapping[str, str] | None = None, attempt: Attempt | None = None) -> Folded:
    body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
    return fold(DIALECT.decode_answer(attempt or asking(model), Quirks(), headers or {}, body))


def streamed(model: str, events: list[Any], metrics: Any = None, **options: Any) -> Folded:
    return READER.streamed(stream(events, metrics), attempt=asking(model, streaming=True, **options))


def ending(folded: Folded) -> tuple[list[Any], Usage | None, FinishReason, str]:
    assert folded.finished is not None
    return folded.texts, folded.usage, folded.finished.finish_reason, folded.finished.provider_finish_reason


@pytest.mark.parametrize("name", STREAMED)
@pytest.mark.parametrize("finish", ["stop", "length"])
def test_whole_and_streamed_are_the_same_however_cut(name: str, finish: Any) -> None:
    model = MODELS[name]
    reply = FakeReply(parts=REPLY.parts, finish=finish, usage=REPLY.usage)
    body = bedrock_text.body(reply, {"model": model})
    expected = whole(model, body, count_headers(reply))
    assert expected.texts == [" Hello, Zürich 😀"]
    assert expected.usage == Usage(11, 7)
    assert expected.finished is not None
    assert expected.finished.finish_reason is FinishReason[finish.upper()]
    written = b"".join(bedrock_text.frames(reply, {"model": model}))
    for bounds in (range(0), range(1, len(written))):
        assert READER.streamed(written, bounds, attempt=asking(model, streaming=True)) == expected


def test_jurassic_answers_whole_with_its_tokens() -> None:
    body = bedrock_text.body(REPLY, {"model": MODELS["jurassic"]})
    assert ending(whole(MODELS["jurassic"], body)) == (
        [" Hello, Zürich 😀"],
        Usage(11, 7),
        FinishReason.STOP,
        "endoftext",
    )


@pytest.mark.parametrize(
    ("name", "native", "reason"),
    [
        ("claude", "max_tokens", FinishReason.LENGTH),
        ("titan", "FINISHED", FinishReason.STOP),
        ("titan", "STOP_CRITERIA_MET", FinishReason.STOP_SEQUENCE),
        ("titan", "CONTENT_FILTERED", FinishReason.CONTENT_FILTER),
        ("titan", "RAG_QUERY_WHEN_RAG_DISABLED", FinishReason.UNSPECIFIED),
        ("command", "ERROR_TOXIC", FinishReason.CONTENT_FILTER),
        ("command", "ERROR_LIMIT", FinishReason.LENGTH),
        ("command_r", "STOP_SEQUENCE", FinishReason.STOP_SEQUENCE),
        ("jurassic", "stop", FinishReason.STOP_SEQUENCE),
        ("mistral", "length", FinishReason.LENGTH),
    ],
)
def test_stop_reasons(name: str, native: str, reason: FinishReason) -> None:
    family = next(each for each in bedrock_text.FAMILIES if re.search(each.models, MODELS[name]))
    assert ending(whole(MODELS[name], family.whole("x", native, REPLY)))[2:] == (reason, native)


@pytest.mark.parametrize(
    ("stop", "stops", "reason"),
    [
        ("\n\nHuman:", ("|",), FinishReason.STOP),
        ("|", ("|",), FinishReason.STOP_SEQUENCE),
        (None, (), FinishReason.STOP),
    ],
)
def test_claude_ends_its_turn_or_is_stopped(stop: str | None, stops: tuple[str, ...], reason: FinishReason) -> None:
    last = {"completion": "", "stop_reason": "stop_sequence", "stop": stop}
    said = streamed(MODELS["claude"], [{"completion": "Hi", "stop_reason": None, "stop": None}, last], stop=stops)
    assert ending(said)[2:] == (reason, "stop_sequence")
    assert ending(whole(MODELS["claude"], {**last, "completion": "Hi"}, attempt=asking(MODELS["claude"], stop=stops)))[
        2:
    ] == (reason, "stop_sequence")


def test_the_service_counts_where_the_model_does_not() -> None:
    answer = {"outputs": [{"text": "Hi", "stop_reason": "stop"}]}
    headers = {"x-amzn-bedrock-input-token-count": "5", "x-amzn-bedrock-output-token-count": "2"}
    cached = {"x-amzn-bedrock-cache-read-input-token-count": "4", "x-amzn-bedrock-cache-write-input-token-count": "0"}
    assert whole(MODELS["mistral"], answer, headers).usage == Usage(5, 2)
    assert whole(MODELS["mistral"], answer, headers | cached).usage == Usage(
        9, 2, cache_read_token_count=4, cache_write_5m_token_count=0
    )
    assert whole(MODELS["mistral"], answer, {"x-amzn-bedrock-input-token-count": "٣"}).usage is None
    assert whole(MODELS["mistral"], answer).usage is None
    assert fold(DIALECT.decode_reply(asking(MODELS["mistral"]), Quirks(), json.dumps(answer).encode())).usage is None
    assert isinstance(DIALECT, HeaderReader)


def test_the_models_own_counts_come_first() -> None:
    chunks = [
        {"outputText": "Hi", "completionReason": None, "inputTextTokenCount": 5, "totalOutputTextTokenCount": None},
        {"outputText": "", "completionReason": "FINISH", "totalOutputTextTokenCount": 2, "inputTextTokenCount": None},
    ]
    assert streamed(MODELS["titan"], chunks, {"inputTokenCount": 9, "outputTokenCount": 9}).usage == Usage(5, 2)
    assert streamed(MODELS["titan"], chunks).usage == Usage(5, 2)


def test_command_may_answer_at_once_and_say_that_it_ends() -> None:
    at_once = {"generations": [{"text": "Hi", "finish_reason": "COMPLETE"}], "id": "g", "prompt": "x"}
    assert ending(streamed(MODELS["command"], [at_once], COUNTED)) == (
        ["Hi"],
        Usage(3, 2),
        FinishReason.STOP,
        "COMPLETE",
    )
    pieces = [
        {"text": "Hi", "is_finished": False},
        {"text": "<EOS_TOKEN>", "is_finished": False},
        {"is_finished": True, "finish_reason": "COMPLETE"},
    ]
    assert streamed(MODELS["command"], pieces).texts == ["Hi"]


# ---------------------------------------------------------------------------------------------------------------------
# What goes wrong
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body", [b"{}", b"[]", b"null", b"{", b'{"completion":"Hi"}', b'{"completion":7,"stop_reason":"x"}']
)
def test_what_cannot_be_an_answer_is_none(body: bytes) -> None:
    claude = Reader(DIALECT)
    with pytest.raises(UpstreamError):
        whole(MODELS["claude"], body)
    assert_never_whole(claude, body, chunk(body))


def test_a_stream_that_breaks_off_is_no_answer() -> None:
    written = b"".join(bedrock_text.frames(REPLY, {"model": MODELS["mistral"]}))
    for stop in range(len(written)):
        with pytest.raises(UpstreamError) as caught:
            READER.read_stream(written[:stop], attempt=asking(MODELS["mistral"], streaming=True))
        assert caught.value.reason in (Reason.UPSTREAM_STREAM_INTERRUPTED, Reason.UPSTREAM_MALFORMED)


def test_half_a_surrogate_pair_is_a_replacement_character() -> None:
    body = rb'{"outputs":[{"text":"a\ud83db","stop_reason":"stop"}]}'
    read = READER.streamed(chunk(body), attempt=asking(MODELS["mistral"], streaming=True))
    assert whole(MODELS["mistral"], body).texts == read.texts == ["a\ufffdb"]


def test_errors_inside_an_answer_are_errors() -> None:
    overloaded = {"type": "error", "error": {"type": "overloaded_error", "message": "x"}}
    with pytest.raises(UpstreamError) as caught:
        whole(MODELS["claude"], overloaded)
    assert caught.value.reason is Reason.UPSTREAM_OVERLOADED
    with pytest.raises(UpstreamError) as caught:
        streamed(MODELS["claude"], [overloaded])
    assert caught.value.reason is Reason.UPSTREAM_OVERLOADED
    with pytest.raises(UpstreamError) as caught:
        READER.read_stream(broken_off("throttlingException", "x"), attempt=asking(MODELS["titan"], streaming=True))
    assert caught.value.reason is Reason.UPSTREAM_RATE_LIMITED
    refused = DIALECT.decode_error(429, {"x-amzn-errortype": "ThrottlingException"}, b"{}", now_s=0.0)
    assert refused.reason is Reason.UPSTREAM_RATE_LIMITED


def test_places_lead_nowhere_where_the_json_is_another() -> None:
    said = {"a": [{"b": 1}], "c": "text"}
    assert [found_at(said, place) for place in [("a", 0, "b"), ("a", "#"), ("a", 1), ("a", "b"), ("c", "#"), ()]] == [
        *(1, 1, None, None, None, None)
    ]
