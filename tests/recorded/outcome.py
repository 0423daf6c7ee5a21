"""What became of a call, the same for unary calls and streams; a stream's order of events is checked on the way."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from llmgateway.v1 import completion_pb2, message_pb2, reply_pb2, usage_pb2
from llmgateway_server.testing.gateway import RunningGateway

WAIT_S = 30.0
MADE_UP_ID = re.compile(r"^call_[0-9a-f-]{36}_")
"""Ids of tool calls that the vendor left out hold the id of the gateway's call."""
ALONE: dict[str, Any] = {"max_attempts": 1, "breakers": {"enabled": False}}
"""Settings under which each exchange is judged alone: nothing is asked again, and none tells on the next."""
DEFECTS = (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN)


@dataclass
class Outcome:
    """A reply, whole or as far as it came, and the status that ended it."""

    code: grpc.StatusCode = grpc.StatusCode.OK
    reason: str = ""
    fields: set[str] = field(default_factory=set)
    """Paths of the violations."""
    retry_after_s: float | None = None
    text: str = ""
    reasoning: str = ""
    refusal: str = ""
    tool_calls: list[tuple[str, str, str]] = field(default_factory=list)
    """Id, name and arguments as JSON text."""
    finish_reason: str = ""
    native_reason: str = ""
    provider_model: str = ""
    usage: usage_pb2.Usage = field(default_factory=usage_pb2.Usage)
    logprobs: list[tuple[str, float]] = field(default_factory=list)

    def comparable(self) -> tuple[object, ...]:
        """Returns everything that must not depend on how the bytes arrived."""
        tool_calls = [(MADE_UP_ID.sub("", call_id), name, said) for call_id, name, said in self.tool_calls]
        return (
            *(self.code, self.reason, self.text, self.reasoning, self.refusal, tool_calls),
            *(self.finish_reason, self.native_reason, self.provider_model, self.logprobs),
            self.usage.SerializeToString(deterministic=True),
        )


async def completed(gateway: RunningGateway, request: completion_pb2.CompleteRequest) -> Outcome:
    """Makes a unary call."""
    try:
        reply = await gateway.stub.Complete(request, timeout=WAIT_S)
    except grpc.aio.AioRpcError as error:
        return failed_with(error)
    outcome = Outcome()
    for part in reply.parts:
        _add_part(outcome, part)
    _finish(outcome, reply)
    outcome.provider_model = reply.provider_model
    outcome.logprobs = [(each.token, each.logprob) for each in reply.logprobs]
    return outcome


async def streamed(gateway: RunningGateway, request: completion_pb2.CompleteRequest) -> Outcome:
    """Makes a streaming call and puts its reply together."""
    reader = _StreamReader()
    try:
        async for message in gateway.stub.StreamComplete(request, timeout=WAIT_S):
            for event in message.events:
                reader.read(event)
    except grpc.aio.AioRpcError as error:
        return _failed(reader.outcome(), error)
    assert reader.finished, "OK without Finished"
    return reader.outcome()


class _StreamReader:
    def __init__(self) -> None:
        self._seq = 0
        self._parts: list[message_pb2.Part] = []
        self._open: set[int] = set()
        self._outcome = Outcome()
        self.finished = False

    def read(self, event: reply_pb2.Event) -> None:
        self._seq += 1
        kind = event.WhichOneof("event")
        assert event.seq == self._seq
        assert not self.finished, "an event after Finished"
        assert (kind == "started") == (self._seq == 1)
        match kind:
            case "started":
                self._outcome.provider_model = event.started.provider_model
            case "part_started":
                self._begin(event.part_started)
            case "text_delta":
                delta = event.text_delta
                self._outcome.logprobs += [(each.token, each.logprob) for each in delta.logprobs]
                part = self._part(delta.part_index)
                if part.WhichOneof("content") == "refusal":
                    part.refusal.text += delta.text
                else:
                    assert part.WhichOneof("content") == "text"
                    part.text += delta.text
            case "reasoning_delta":
                self._part(event.reasoning_delta.part_index).reasoning.text += event.reasoning_delta.text
            case "tool_arguments_delta":
                arguments = event.tool_arguments_delta
                self._part(arguments.part_index).tool_call.arguments_json += arguments.arguments_json
            case "part_finished":
                self._open.remove(event.part_finished.part_index)
            case "finished":
                assert not self._open, "Finished with an open part"
                self.finished = True
                _finish(self._outcome, event.finished)

    def outcome(self) -> Outcome:
        for part in self._parts:
            _add_part(self._outcome, part)
        return self._outcome

    def _begin(self, started: reply_pb2.PartStarted) -> None:
        assert started.part_index == len(self._parts)
        part = message_pb2.Part()
        match started.kind:
            case reply_pb2.PART_KIND_TEXT:
                part.text = ""
            case reply_pb2.PART_KIND_REFUSAL:
                part.refusal.SetInParent()
            case reply_pb2.PART_KIND_REASONING:
                part.reasoning.SetInParent()
            case reply_pb2.PART_KIND_TOOL_CALL:
                part.tool_call.id, part.tool_call.name = started.tool_call_id, started.tool_name
        self._parts.append(part)
        self._open.add(started.part_index)

    def _part(self, index: int) -> message_pb2.Part:
        assert index in self._open, "a delta of a part that is not open"
        return self._parts[index]


def _add_part(outcome: Outcome, part: message_pb2.Part) -> None:
    match part.WhichOneof("content"):
        case "text":
            outcome.text += part.text
        case "reasoning":
            outcome.reasoning += part.reasoning.text
        case "refusal":
            outcome.refusal += part.refusal.text
        case "tool_call":
            call = part.tool_call
            outcome.tool_calls.append((call.id, call.name, call.arguments_json))


def _finish(outcome: Outcome, summary: Any) -> None:
    outcome.finish_reason = reply_pb2.FinishReason.Name(summary.finish_reason).removeprefix("FINISH_REASON_").lower()
    outcome.native_reason = summary.provider_finish_reason
    outcome.usage = summary.usage


def failed_with(error: grpc.aio.AioRpcError) -> Outcome:
    """Returns what a call ended with that brought nothing."""
    return _failed(Outcome(), error)


def _failed(outcome: Outcome, error: grpc.aio.AioRpcError) -> Outcome:
    outcome.code = error.code()
    status = rpc_status.from_call(error)  # type: ignore[arg-type]
    for detail in status.details if status is not None else ():
        info, retry, request = (
            error_details_pb2.ErrorInfo(),
            error_details_pb2.RetryInfo(),
            error_details_pb2.BadRequest(),
        )
        precondition = error_details_pb2.PreconditionFailure()
        if detail.Unpack(info):
            outcome.reason = info.reason
        elif detail.Unpack(retry):
            outcome.retry_after_s = retry.retry_delay.ToTimedelta().total_seconds()
        elif detail.Unpack(request):
            outcome.fields |= {each.field for each in request.field_violations}
        elif detail.Unpack(precondition):
            outcome.fields |= {each.subject for each in precondition.violations}
    return outcome


def assert_reply(expected: dict[str, Any], outcome: Outcome) -> None:
    """Holds a reply against what its recording is known to say; absent and zero are told apart."""
    assert outcome.code is grpc.StatusCode.OK, (outcome.code, outcome.reason)
    assert outcome.text == (expected["text"] or "")
    assert outcome.reasoning == (expected["reasoning_text"] or "")
    assert outcome.refusal == (expected["refusal"] or "")
    assert outcome.finish_reason in expected["finish_reason_accept"]
    assert outcome.native_reason == (expected["native_finish_reason"] or "")
    assert outcome.provider_model == (expected["response_model"] or "")
    _assert_tool_calls(expected["tool_calls"], outcome)
    _assert_usage(expected, outcome.usage)


def _assert_tool_calls(expected: list[dict[str, Any]], outcome: Outcome) -> None:
    assert [name for _, name, _ in outcome.tool_calls] == [call["name"] for call in expected]
    for call, (call_id, _, arguments) in zip(expected, outcome.tool_calls, strict=True):
        assert call_id, "the gateway makes up the ids that vendors leave out"
        assert call["id"] is None or call_id == call["id"]
        assert json.loads(arguments or "{}") == call["arguments"]
    assert len({call_id for call_id, _, _ in outcome.tool_calls}) == len(expected)


def _written(usage: Any) -> int | None:
    """Returns the tokens written to the vendor's cache, for however long; None where none were told."""
    counts = [
        getattr(usage, name)
        for name in ("cache_write_5m_token_count", "cache_write_1h_token_count")
        if usage.HasField(name)
    ]
    return sum(counts) if counts else None


def _assert_usage(expected: dict[str, Any], usage: Any) -> None:
    if expected["input_tokens"] is None and expected["output_tokens"] is None:
        assert usage.source == usage_pb2.USAGE_SOURCE_ESTIMATED
        assert not usage.HasField("cache_read_token_count")
        assert not usage.HasField("reasoning_token_count")
        return
    whole = None not in (expected["input_tokens"], expected["output_tokens"])
    assert usage.source == (usage_pb2.USAGE_SOURCE_REPORTED if whole else usage_pb2.USAGE_SOURCE_ESTIMATED)
    for name, count in (  # a total that the vendor left out is the gateway's own estimate
        ("input_token_count", expected.get("input_tokens_incl_cache", usage.input_token_count)),
        ("output_token_count", expected.get("output_tokens_incl_reasoning", usage.output_token_count)),
        ("cache_read_token_count", expected["cached_input_tokens"]),
        ("reasoning_token_count", expected["reasoning_tokens"]),
    ):
        assert (getattr(usage, name) if usage.HasField(name) else None) == count, name
    assert (_written(usage) or 0) == (expected["cache_write_tokens"] or 0)  # some say 0 that the recordings leave out
