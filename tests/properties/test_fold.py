"""The grammar of streams, and `Complete` as the fold of its stream, for every script of the simulator."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import grpc
import grpc.aio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmgateway.fold import fold
from llmgateway.v1 import completion_pb2, reply_pb2, tool_pb2
from llmgateway_server.providers.simulator.script import FAULTS
from tests.properties.loop import Bench, ask, bench, read_stream, refusal

LONGEST_WAIT_S = 0.4
SILENT = ("hang", "stall", "ping")
"""Faults that only a timeout ends."""
ENDS_WELL = ("content_filter", "refusal")
BEFORE_CONTENT = ("refuse", "tls", "reset", "http", "hang", "empty")
REASONS_MID_STREAM = {
    "malformed": "UPSTREAM_MALFORMED",
    "cut": "UPSTREAM_STREAM_INTERRUPTED",
    "no_end": "UPSTREAM_STREAM_INTERRUPTED",
    "stall": "UPSTREAM_STALLED",
    "ping": "UPSTREAM_STALLED",
    "error": "UPSTREAM_OVERLOADED",
}
SCHEMAS = (
    '{"type":"object"}',
    '{"type":"object","properties":{"a":{"type":"string"},"b":{"type":"integer","minimum":3}},"required":["a","b"]}',
    '{"enum":[{"c":[1,2.5,null]}]}',
    '{"type":["array"],"minItems":2,"items":{"const":"é"}}',
    '{"enum":{"a":1},"type":"array","minItems":"many"}',
)
LARGE = '{"type":"array","minItems":1000000000000,"items":{"type":"array","minItems":9,"items":{}}}'
"""What it asks for is more than a stream may bring under the small caps here (`attempts.bounds`)."""
NAMES = ("first", "second", "third")

counts = st.integers(0, 12)
scripts = st.fixed_dictionaries(
    {},
    optional={
        "tokens": counts,
        "reasoning": counts,
        "tools": st.integers(0, 4),
        "usage": st.sampled_from(["reported", "none"]),
        "pace_ms": st.sampled_from([0, 0, 0, 1]),
        "text": st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=10),
        "at": counts,
    },
)


@st.composite
def requests(draw: st.DrawFn, faults: tuple[str, ...] = ("", *ENDS_WELL)) -> completion_pb2.CompleteRequest:
    script: dict[str, Any] = dict(draw(scripts))
    if fault := draw(st.sampled_from(faults)):
        script |= {"fault": fault, "status": 503}
    words = draw(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=40))
    request = ask(words, f"simulator/chat?{urlencode(script)}")
    schemas: tuple[str, ...] = ("", *SCHEMAS)
    if draw(st.booleans()):
        request.max_output_tokens = draw(st.integers(1, 15))
    else:
        schemas += (LARGE,)
    for name in NAMES[: draw(st.integers(0, 3))]:
        request.tools.add(name=name, parameters_json_schema=draw(st.sampled_from(schemas)))
    modes = [tool_pb2.TOOL_CHOICE_MODE_AUTO, tool_pb2.TOOL_CHOICE_MODE_NONE]
    if request.tools:
        modes += [tool_pb2.TOOL_CHOICE_MODE_REQUIRED, tool_pb2.TOOL_CHOICE_MODE_NAMED]
    if draw(st.booleans()):
        request.tool_choice.mode = draw(st.sampled_from(modes))
        if request.tool_choice.mode == tool_pb2.TOOL_CHOICE_MODE_NAMED:
            request.tool_choice.name = draw(st.sampled_from([tool.name for tool in request.tools]))
    match draw(st.sampled_from(["", "text", "json_object", "json_schema"])):
        case "text":
            request.response_format.text.SetInParent()
        case "json_object":
            request.response_format.json_object.SetInParent()
        case "json_schema":
            schema = tool_pb2.JsonSchemaFormat(name="s", schema_json=draw(st.sampled_from(SCHEMAS)))
            request.response_format.json_schema.CopyFrom(schema)
    return request


@pytest.fixture(scope="module")
def running() -> Iterator[Bench]:
    with bench() as made:
        yield made


@pytest.fixture(scope="module")
def impatient() -> Iterator[Bench]:
    timeouts = {"first_token_s": LONGEST_WAIT_S, "idle_s": LONGEST_WAIT_S, "progress_s": LONGEST_WAIT_S / 2}
    with bench({"providers": {"simulator": {"vendor": "simulator"}}, "timeouts": timeouts}) as made:
        yield made


def without_what_names_one_call(response: reply_pb2.CompleteResponse) -> reply_pb2.CompleteResponse:
    """Drops ids and durations, and the deadline that differs between unary calls and streams."""
    same = reply_pb2.CompleteResponse()
    same.CopyFrom(response)
    for field in ("call_id", "timings", "trace"):
        same.ClearField(field)
    same.effective_settings.ClearField("timeout_ms")
    for attempt in same.attempts:
        attempt.ClearField("latency_us")
        attempt.ClearField("time_to_first_token_us")
    return same


def check_grammar(events: list[reply_pb2.Event], *, whole: bool) -> None:
    """started? (parts and deltas)* finished? — with numbers from 1 without gaps; content comes with the start."""
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    kinds = [event.WhichOneof("event") for event in events]
    assert kinds.count("started") == bool(kinds)
    assert kinds.count("finished") == int(whole)
    if kinds:
        assert kinds[0] == "started"
    if whole:
        assert kinds[-1] == "finished"
    began: list[int] = []
    over: set[int] = set()
    for event in events:
        kind = event.WhichOneof("event")
        if kind == "part_started":
            began.append(event.part_started.part_index)
        elif kind in ("text_delta", "reasoning_delta", "tool_arguments_delta", "media_delta", "part_finished"):
            index = getattr(event, kind).part_index
            assert index in began
            assert index not in over
            if kind == "part_finished":
                over.add(index)
    assert began == list(range(len(began)))
    if whole:
        assert over == set(began)


@settings(max_examples=120, deadline=None)
@given(request=requests())
def test_complete_is_the_fold_of_its_stream(running: Bench, request: completion_pb2.CompleteRequest) -> None:
    stub = running.gateway.stub

    async def both() -> None:
        whole = await stub.Complete(request)
        events, error = await read_stream(stub.StreamComplete(request))
        assert error is None
        check_grammar(events, whole=True)
        folded = fold(events)
        assert without_what_names_one_call(folded) == without_what_names_one_call(whole)
        assert folded.call_id != whole.call_id

    running.run(both())


@settings(max_examples=100, deadline=None)
@given(request=requests(tuple(sorted(set(FAULTS) - set(SILENT)))))
def test_every_stream_keeps_to_the_grammar(running: Bench, request: completion_pb2.CompleteRequest) -> None:
    running.run(check_stream(running, request))


@pytest.mark.parametrize("fault", SILENT)
@pytest.mark.parametrize("at", [0, 1, 3])
def test_a_silent_provider_is_given_up(impatient: Bench, fault: str, at: int) -> None:
    impatient.run(check_stream(impatient, ask(model=f"simulator/chat?tokens=5&fault={fault}&at={at}")))


@pytest.mark.parametrize("fault", sorted(REASONS_MID_STREAM))
def test_a_stream_that_breaks_says_why_and_how_far_it_came(impatient: Bench, fault: str) -> None:
    async def run() -> None:
        request = ask(model=f"simulator/chat?tokens=5&fault={fault}&at=2&status=503")
        events, error = await read_stream(impatient.gateway.stub.StreamComplete(request))
        assert error is not None
        refused = refusal(error)
        assert refused.reason == REASONS_MID_STREAM[fault]
        assert refused.partial is not None
        assert refused.partial.last_seq == events[-1].seq
        assert refused.partial.usage.source  # what was delivered is accounted for
        assert refused.partial.cost.total.nano_usd > 0
        assert [attempt.number for attempt in refused.attempts] == [1]

    impatient.run(run())


@pytest.mark.parametrize("fault", BEFORE_CONTENT)
def test_a_call_that_never_began_has_nothing_partial(impatient: Bench, fault: str) -> None:
    async def run() -> None:
        stub = impatient.gateway.stub
        request = ask(model=f"simulator/chat?fault={fault}&tokens=3")
        events, error = await read_stream(stub.StreamComplete(request))
        assert error is not None
        assert (events, refusal(error).partial) == ([], None)
        if fault != "hang":  # the clocks of first token and idle are those of streams
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.Complete(request)
            assert refusal(caught.value).reason == refusal(error).reason

    impatient.run(run())


async def check_stream(running: Bench, request: completion_pb2.CompleteRequest) -> None:
    events, error = await read_stream(running.gateway.stub.StreamComplete(request))
    check_grammar(events, whole=error is None)
    if error is None:
        fold(events)
        return
    with pytest.raises(ValueError, match="did not finish"):
        fold(events)
    refused = refusal(error)
    assert refused.code not in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN)
    if events:
        assert refused.partial is not None
        assert refused.partial.last_seq == events[-1].seq
    else:
        assert refused.partial is None
