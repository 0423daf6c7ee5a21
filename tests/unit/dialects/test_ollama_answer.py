"""How answers of Ollama are read, whole and line by line."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmgateway_server.core.errors import UpstreamError
from llmgateway_server.core.events import FinishReason, Logprob, PartKind
from llmgateway_server.core.reasons import Reason
from llmgateway_server.core.usage import Usage
from llmgateway_server.providers.dialects.framing import framing_for
from llmgateway_server.providers.dialects.lines import LineDecoder
from tests.unit.dialects.kit import assert_told_first, bounds_in, cut_off
from tests.unit.dialects.ollama_replies import DIALECT, END, READER, call, line, said, stream, whole

HELLO = stream(said("Hel"), said("lo 🙂"))


def failure(*lines: Any, end: Any = None) -> UpstreamError:
    with pytest.raises(UpstreamError) as caught:
        READER.read_stream(stream(*lines, end=end))
    return caught.value


def refused(answer: Any) -> Reason:
    with pytest.raises(UpstreamError) as caught:
        READER.whole(answer)
    return caught.value.reason


# ---------------------------------------------------------------------------------------------------------------------
# What is said
# ---------------------------------------------------------------------------------------------------------------------


@given(bounds_in(HELLO))
def test_text_is_the_same_however_it_is_cut(bounds: list[int]) -> None:
    assert READER.streamed(HELLO, bounds) == READER.whole(whole({"content": "Hello 🙂"}))


def test_an_answer_tells_its_model_and_its_tokens() -> None:
    found = READER.streamed(HELLO)
    assert found.started is not None
    assert (found.started.response_id, found.started.provider_model) == ("", "m:1b")
    assert found.usage == Usage(input_token_count=7, output_token_count=3)
    assert found.finished is not None
    assert (found.finished.finish_reason, found.finished.provider_finish_reason) == (FinishReason.STOP, "stop")


def test_thinking_is_reasoning() -> None:
    lines = (line({"content": "", "thinking": "Hm"}), line({"content": "", "thinking": "."}), said("Yes."))
    for found in (READER.streamed(stream(*lines)), READER.whole(whole({"content": "Yes.", "thinking": "Hm."}))):
        assert [(part.kind, part.said, part.state) for part in found.parts] == [
            (PartKind.REASONING, "Hm.", None),
            (PartKind.TEXT, "Yes.", None),
        ]


def test_the_last_line_may_say_something() -> None:
    last = line({"content": "lo"}, **END)
    body = stream(said("Hel"))[: len(stream(said("Hel"))) - len(stream())] + json.dumps(last).encode()
    assert READER.streamed(body).text() == "Hello"


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("stop", FinishReason.STOP),
        ("length", FinishReason.LENGTH),
        ("load", FinishReason.UNSPECIFIED),
        ("unload", FinishReason.UNSPECIFIED),
        ("novelty", FinishReason.UNSPECIFIED),
    ],
)
def test_reasons_to_end(reason: str, kind: FinishReason) -> None:
    for found in (
        READER.whole(whole({"content": "a"}, done_reason=reason)),
        READER.streamed(stream(said("a"), end={"done": True, "done_reason": reason})),
    ):
        assert found.finished is not None
        assert (found.finished.finish_reason, found.finished.provider_finish_reason) == (kind, reason)


def test_servers_of_old_give_no_reason() -> None:
    found = READER.streamed(stream(said("a"), end={"done": True}))
    assert found.finished is not None
    assert (found.finished.finish_reason, found.finished.provider_finish_reason) == (FinishReason.STOP, "")


@pytest.mark.parametrize("message", [None, {}, {"content": ""}, {"content": None, "tool_calls": None}])
def test_an_answer_may_say_nothing(message: Any) -> None:
    for found in (READER.whole(whole(message)), READER.streamed(stream(line(message)))):
        assert found.parts == []
        assert found.usage is not None


@pytest.mark.parametrize(
    ("end", "usage"),
    [
        ({"eval_count": 3}, Usage(output_token_count=3)),
        ({"prompt_eval_count": 7}, Usage(input_token_count=7)),
        ({"prompt_eval_count": None, "eval_count": "3"}, None),
        ({"prompt_eval_count": -1, "eval_count": 2**60}, None),
    ],
)
def test_counts_may_be_missing(end: Any, usage: Usage | None) -> None:
    found = READER.streamed(stream(said("a"), end={"done": True, **end}))
    assert found.usage == usage


def test_log_probabilities() -> None:
    told = [
        {"token": "Hi", "logprob": -0.1, "bytes": [72, 105], "top_logprobs": [{"token": "Yo", "logprob": -2.5}]},
        {"token": "!", "logprob": -0.5},
    ]
    expected = [Logprob("Hi", -0.1, b"Hi", (("Yo", -2.5, b"Yo"),)), Logprob("!", -0.5, b"!")]
    streamed = READER.streamed(
        stream(line({"content": "Hi"}, logprobs=told[:1]), line({"content": "!"}, logprobs=told[1:]))
    )
    assert streamed.logprobs == expected
    assert streamed == READER.whole(whole({"content": "Hi!"}, logprobs=told))


# ---------------------------------------------------------------------------------------------------------------------
# Tool calls
# ---------------------------------------------------------------------------------------------------------------------


def test_calls_come_whole_with_ids_that_are_made_up() -> None:
    calls = [call("search", {"q": "a"}), call("weather", {"city": "Bern"})]
    expected = [("call_call-1_1", "search", '{"q": "a"}'), ("call_call-1_2", "weather", '{"city": "Bern"}')]
    together = stream(line({"content": "", "tool_calls": calls}))
    apart = stream(*(line({"content": "", "tool_calls": [each]}) for each in calls))
    for found in (
        READER.streamed(together),
        READER.streamed(apart),
        READER.whole(whole({"content": "", "tool_calls": calls})),
    ):
        assert found.calls == expected
        assert found.finished is not None
        assert (found.finished.finish_reason, found.finished.provider_finish_reason) == (
            FinishReason.TOOL_CALLS,
            "stop",
        )


def test_ids_that_are_given_are_kept() -> None:
    message = {"content": "", "tool_calls": [call("a", {}, id="call_x1"), call("a", {})]}
    assert [found[0] for found in READER.whole(whole(message)).calls] == ["call_x1", "call_call-1_2"]


@pytest.mark.parametrize(
    "written", ['{"b": 1.0, "a": 12345678901234567890, "c": 1e400}', "{}", '{"a":{"z":[{}],"y":"\\u00e9\\n"}}']
)
def test_arguments_are_kept_to_the_letter(written: str) -> None:
    answer = json.dumps(whole({"content": "", "tool_calls": [call("a", "-X-")]})).replace('"-X-"', written)
    assert READER.whole(answer.encode()).calls[0][2] == written


@pytest.mark.parametrize(("arguments", "said"), [(None, ""), ('{"a": 1}', '{"a": 1}')])
def test_arguments_of_servers_that_speak_alike(arguments: Any, said: str) -> None:
    assert READER.whole(whole({"content": "", "tool_calls": [call("a", arguments)]})).calls[0][2] == said


def test_arguments_may_be_absent() -> None:
    assert READER.whole(whole({"content": "", "tool_calls": [{"function": {"name": "a"}}]})).calls[0][2] == ""


def test_text_around_calls_is_one_text() -> None:
    found = READER.streamed(stream(said("One. "), line({"content": "", "tool_calls": [call("a", {})]}), said("Two.")))
    assert [(part.kind, part.said) for part in found.parts] == [
        (PartKind.TEXT, "One. Two."),
        (PartKind.TOOL_CALL, "{}"),
    ]


# ---------------------------------------------------------------------------------------------------------------------
# What cannot be a whole answer
# ---------------------------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.data())
def test_a_stream_without_its_last_line_was_cut(data: st.DataObject) -> None:
    beginning = data.draw(cut_off(HELLO.rstrip()))
    with pytest.raises(UpstreamError) as caught:
        READER.read_stream(beginning)
    assert caught.value.reason in (Reason.UPSTREAM_STREAM_INTERRUPTED, Reason.UPSTREAM_MALFORMED)


def test_whatever_follows_the_last_line_is_not_looked_at() -> None:
    assert READER.streamed(HELLO + b"nonsense\n") == READER.streamed(HELLO)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'{"model":"m"}',
        line({"content": "a"}),
        whole({"content": ["a"]}),
        whole({"content": "a", "thinking": 1}),
        whole({"content": "", "tool_calls": [call("a", [1])]}),
        whole({"content": "", "tool_calls": [call("a", 1)]}),
        whole({"content": "", "tool_calls": {}}),
        json.dumps(whole({"content": "", "tool_calls": [call("a", "-X-")]})).replace("-X-", "\\ud800").encode()[:-1],
    ],
)
def test_an_answer_that_cannot_be_read(answer: Any) -> None:
    assert refused(answer) is Reason.UPSTREAM_MALFORMED


def test_arguments_that_are_not_utf_8() -> None:
    answer = json.dumps(whole({"content": "", "tool_calls": [call("a", {"b": "-X-"})]})).encode()
    assert refused(answer.replace(b"-X-", b"\xff")) is Reason.UPSTREAM_MALFORMED


def test_an_answer_without_done_is_whole_where_it_says_something() -> None:
    answer = whole({"content": "a"})
    del answer["done"]
    assert READER.whole(answer).text() == "a"


def test_half_a_surrogate_pair_is_mended() -> None:
    body = HELLO.replace(b"Hel", b"\\ud83d")
    assert READER.streamed(body).text() == "\ufffdlo 🙂"


def test_an_error_inside_a_stream() -> None:
    assert failure({"error": "an error was encountered while running the model"}).reason is Reason.UPSTREAM_ERROR
    decoder = READER.decoder()
    told = json.dumps(said("a")).encode() + b"\n" + b'{"error":"the model runner has stopped"}\n'
    assert_told_first(decoder, told, Reason.UPSTREAM_ERROR)
    assert decoder.failure is not None
    assert "runner" not in str(decoder.failure) + decoder.failure.detail


def test_an_error_in_an_answer_whose_status_was_well() -> None:
    assert refused({"error": "model runner has stopped"}) is Reason.UPSTREAM_ERROR


@pytest.mark.parametrize(
    "content_type",
    [
        "application/x-ndjson",
        "application/json; charset=utf-8",
        "application/ndjson",
        "application/jsonl",
        "text/plain",
        "",
    ],
)
def test_lines_under_any_of_their_names(content_type: str) -> None:
    assert isinstance(framing_for(DIALECT.framings, content_type), LineDecoder)
