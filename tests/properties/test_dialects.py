"""For every reply that a provider can give: read whole and read as a stream, however it is cut, it is the same."""

from __future__ import annotations

import json
from collections.abc import Hashable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmgateway_server.core.calls import Attempt, AttemptRecord, Call, CallScope, Deadline
from llmgateway_server.core.errors import UpstreamError
from llmgateway_server.core.events import (
    Event,
    Finished,
    PartFinished,
    PartKind,
    PartStarted,
    ReasoningDelta,
    Started,
    TextDelta,
    ToolArgumentsDelta,
    UsageSnapshot,
)
from llmgateway_server.core.reasons import Reason
from llmgateway_server.core.requests import CompleteRequest, Operation
from llmgateway_server.core.targets import Target
from llmgateway_server.providers.dialects.anthropic_messages import AnthropicMessages
from llmgateway_server.providers.dialects.dialect import Dialect, Quirks
from llmgateway_server.providers.dialects.openai_chat import OpenAiChat
from llmgateway_server.providers.dialects.openai_responses import OpenAiResponses
from llmgateway_server.testing.fake_provider import FORMATS, FakeReply, Format, cuts
from llmgateway_server.testing.fake_provider.endpoints import ENDPOINTS
from llmgateway_server.testing.fake_provider.frames import compact
from tests.contract.fake_replies import REQUESTS
from tests.properties.fake_replies import fake_replies

DIALECTS: dict[Format, Dialect] = {
    "openai_chat": OpenAiChat(),
    "openai_responses": OpenAiResponses(),
    "anthropic_messages": AnthropicMessages(),
}
ENDPOINT_OF = {endpoint.format: endpoint for endpoint in ENDPOINTS.values()}
IN_ANY_ORDER = {"openai_chat"}
"""Formats whose whole answers have one field for each kind of part, so that only a stream tells which came first."""
BROKEN = {Reason.UPSTREAM_STREAM_INTERRUPTED, Reason.UPSTREAM_MALFORMED}
FEW = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])


def attempt_of() -> Attempt:
    scope = CallScope("call-1", "/m", "peer", {}, 0.0, Deadline(10.0, from_client=False))
    target = Target("p", "v", "fake-1")
    return Attempt(
        Call(scope, Operation.COMPLETE, streaming=True, request=CompleteRequest("m", [])),
        target,
        AttemptRecord(1, target),
    )


def folded(events: list[Event], format: Format) -> tuple[Hashable | Any, ...]:
    """Puts events together; arguments as JSON, which a vendor may write with other blanks."""
    started = [(event.response_id, event.provider_model) for event in events if isinstance(event, Started)]
    heads = [event for event in events if isinstance(event, PartStarted)]
    texts = [""] * len(heads)
    logprobs: list[Any] = []
    for event in events:
        match event:
            case TextDelta(part_index=index, text=text):
                texts[index] += text
                logprobs += event.logprobs
            case (
                ReasoningDelta(part_index=index, text=text) | ToolArgumentsDelta(part_index=index, arguments_json=text)
            ):
                texts[index] += text
    ends = {event.part_index: event for event in events if isinstance(event, PartFinished)}
    assert len(ends) == len(heads) == len({head.part_index for head in heads})
    parts = [
        (head.kind, head.tool_call_id, head.tool_name, head.redacted, _said(head, texts[head.part_index]), end)
        for head in heads
        for end in [replace(ends[head.part_index], part_index=0)]
    ]
    if format in IN_ANY_ORDER:
        parts.sort(key=lambda part: part[0])
    usage = [event.usage for event in events if isinstance(event, UsageSnapshot)][-1:]
    finished = [event for event in events if isinstance(event, Finished)]
    assert events[-1] is finished[0]
    return started, parts, logprobs, usage, finished


def _said(head: PartStarted, text: str) -> Any:
    return json.loads(text or "{}") if head.kind is PartKind.TOOL_CALL and text.endswith("}") else text


def streamed(format: Format, pieces: list[bytes]) -> list[Event]:
    decoder = DIALECTS[format].stream_decoder(attempt_of(), Quirks())
    events: list[Event] = []
    for piece in pieces:
        events += decoder.feed(piece)
        if decoder.failure is not None:
            raise decoder.failure
    events += decoder.end()
    if decoder.failure is not None:
        raise decoder.failure
    return events


def written(format: Format, reply: FakeReply) -> tuple[bytes, bytes]:
    """Returns the reply as a whole answer and as a stream."""
    endpoint, request = ENDPOINT_OF[format], REQUESTS[format]
    stream = {**request, "stream": True, "stream_options": {"include_usage": True}}
    reply = replace(reply, response_id="id_fixed")
    return compact(endpoint.body(reply, request)).encode(), b"".join(endpoint.frames(reply, stream))


@pytest.mark.parametrize("format", FORMATS)
@FEW
@given(st.data())
def test_whole_and_streamed_are_the_same(format: Format, data: st.DataObject) -> None:
    body, stream = written(format, data.draw(fake_replies(format)))
    cut = data.draw(st.sampled_from([cuts.whole, cuts.one_byte, cuts.inside_utf8, cuts.seeded(7)]))
    whole = DIALECTS[format].decode_reply(attempt_of(), Quirks(), body)
    assert folded(streamed(format, cut(stream)), format) == folded(whole, format)


@pytest.mark.parametrize("format", FORMATS)
@FEW
@given(st.data())
def test_no_cut_ends_well(format: Format, data: st.DataObject) -> None:
    _, stream = written(format, data.draw(fake_replies(format)))
    at = data.draw(st.integers(0, len(stream.rstrip()) - 1))
    with pytest.raises(UpstreamError) as caught:
        streamed(format, [stream[:at]])
    assert caught.value.reason in BROKEN
