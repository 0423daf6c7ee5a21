from __future__ import annotations

from typing import Any

import grpc.aio
import pytest

from llmgateway.v1 import reply_pb2, routing_pb2, tool_pb2
from llmgateway_server.testing.gateway import running_gateway
from tests.properties.loop import ask, read_stream, refusal

CONTINUE = routing_pb2.MID_STREAM_POLICY_CONTINUE
RESTART = routing_pb2.MID_STREAM_POLICY_RESTART


def two(first: str, second: str) -> dict[str, Any]:
    return {
        "providers": {"a": {"vendor": "simulator"}, "b": {"vendor": "simulator"}},
        "models": {"m": {"targets": [{"provider": "a", "model": first}, {"provider": "b", "model": second}]}},
        "timeouts": {"first_token_s": 5, "idle_s": 0.3, "progress_s": 0.3},
    }


def text_of(events: list[reply_pb2.Event]) -> str:
    return "".join(event.text_delta.text for event in events)


async def streamed(
    document: dict[str, Any], policy: routing_pb2.MidStreamPolicy.ValueType, **fields: Any
) -> tuple[list[reply_pb2.Event], grpc.aio.AioRpcError | None, list[dict[str, Any]]]:
    request = ask(model="m", routing=routing_pb2.RoutingOptions(mid_stream_policy=policy), **fields)
    async with running_gateway(document) as gateway:
        events, error = await read_stream(gateway.stub.StreamComplete(request))
        return events, error, gateway.records()


@pytest.mark.parametrize("fault", ["cut", "malformed", "no_end", "stall", "error&status=503"])
async def test_a_broken_stream_is_continued(fault: str) -> None:
    document = two(f"chat?tokens=6&at=3&fault={fault}", "chat?text=+and+more")
    events, error, records = await streamed(document, CONTINUE)
    assert error is None
    (switch,) = [event.target_switched for event in events if event.HasField("target_switched")]
    assert (switch.target.provider, switch.attempt, switch.restarted) == ("b", 2, False)
    at = next(i for i, event in enumerate(events) if event.HasField("target_switched"))
    assert switch.at_seq == events[at - 1].seq
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert text_of(events).startswith("the gateway answers ")
    assert text_of(events).endswith(" and more")
    assert len([event for event in events if event.HasField("started")]) == 1
    assert [event.part_started.part_index for event in events if event.HasField("part_started")] == [0]
    attempts = events[-1].finished.attempts
    assert [(each.target.provider, each.billed) for each in attempts] == [("a", True), ("b", True)]
    assert events[-1].finished.effective_settings.mid_stream_policy == CONTINUE
    assert [record["outcome"] for record in records if record["record"] == "attempt"] == ["failed", "succeeded"]


async def test_a_broken_stream_is_started_afresh() -> None:
    document = two("chat?tokens=6&at=3&text=one+two+three+four&fault=cut", "chat?text=all+new")
    events, error, _ = await streamed(document, RESTART)
    assert error is None
    at = next(i for i, event in enumerate(events) if event.HasField("target_switched"))
    assert events[at].target_switched.restarted
    assert text_of(events[at:]) == "all new"
    assert [event.part_started.part_index for event in events[at:] if event.HasField("part_started")] == [0]


async def test_reasoning_that_was_open_is_closed() -> None:
    document = two("chat?reasoning=4&tokens=4&at=6&fault=cut", "chat?reasoning=2&text=more")
    events, error, _ = await streamed(document, CONTINUE)
    assert error is None
    started = [event.part_started.part_index for event in events if event.HasField("part_started")]
    finished = [event.part_finished.part_index for event in events if event.HasField("part_finished")]
    assert started == list(range(len(started)))
    assert sorted(finished) == started


async def test_a_single_target_is_asked_again() -> None:
    document = two("chat?tokens=6&at=3&fault=cut", "chat")
    document["models"]["m"]["targets"].pop()
    events, error, _ = await streamed(document, RESTART)
    assert error is not None  # it breaks every time
    assert [each.target.provider for each in refusal(error).attempts] == ["a", "a", "a"]
    assert len([event for event in events if event.HasField("target_switched")]) == 2


@pytest.mark.parametrize(
    "fields",
    [
        {"tools": [tool_pb2.Tool(name="find")]},
        {"response_format": tool_pb2.ResponseFormat(json_object=tool_pb2.JsonObjectFormat())},
    ],
    ids=["tools", "json"],
)
async def test_what_cannot_be_continued_is_refused(fields: dict[str, Any]) -> None:
    _, error, _ = await streamed(two("chat", "chat"), CONTINUE, **fields)
    assert error is not None
    refused = refusal(error)
    assert refused.reason == "INVALID_REQUEST"


async def test_a_reply_with_tool_calls_is_not_continued() -> None:
    document = two("chat?tools=1&tokens=4&at=2&fault=cut", "chat")
    _, error, _ = await streamed(document, RESTART, tools=[tool_pb2.Tool(name="find")])
    assert error is None
