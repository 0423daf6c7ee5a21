from decimal import Decimal

import pytest

from llmgateway import BrokenStream, Embeddings, Reply, ToolCall
from llmgateway.events import Assembly, Heartbeat, TextDelta, event_of
from llmgateway.v1 import embedding_pb2, message_pb2, reply_pb2, usage_pb2

Part = message_pb2.Part
STATE = message_pb2.ProviderState(vendor="v", data=b"s")
PARTS = [
    Part(reasoning=message_pb2.Reasoning(text="hm"), provider_state=STATE),
    Part(text="a"),
    Part(tool_call=message_pb2.ToolCall(id="c", name="t", arguments_json='{"x": 1}')),
    Part(text="b"),
    Part(refusal=message_pb2.Refusal(text="no")),
]


def test_what_a_reply_says() -> None:
    raw = reply_pb2.CompleteResponse(
        call_id="id",
        parts=PARTS,
        finish_reason=reply_pb2.FINISH_REASON_TOOL_CALLS,
        usage=usage_pb2.Usage(output_token_count=0),
    )
    reply = Reply(raw)
    assert (reply.text, reply.reasoning, reply.refusal) == ("ab", "hm", "no")
    assert reply.finish_reason == "TOOL_CALLS"
    assert reply.usage.HasField("output_token_count")
    assert reply.request_id == "id"
    assert list(reply.parts) == PARTS
    assert list(reply.message.parts) == PARTS
    assert reply.message.role == message_pb2.ROLE_ASSISTANT
    assert [(call.id, call.name, call.arguments) for call in reply.tool_calls] == [("c", "t", {"x": 1})]


def test_a_finish_reason_of_a_newer_gateway() -> None:
    assert Reply(reply_pb2.CompleteResponse(finish_reason=77)).finish_reason == "77"  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("cost", "wanted"),
    [
        (usage_pb2.Cost(total=usage_pb2.Money(nano_usd=1_950)), Decimal("0.000001950")),
        (usage_pb2.Cost(total=usage_pb2.Money(nano_usd=0)), Decimal(0)),
        (usage_pb2.Cost(unpriced=True), None),
        (usage_pb2.Cost(), None),
    ],
)
def test_cost(cost: usage_pb2.Cost, wanted: Decimal | None) -> None:
    assert Reply(reply_pb2.CompleteResponse(cost=cost)).cost_usd == wanted
    assert Embeddings(embedding_pb2.EmbedResponse(cost=cost)).cost_usd == wanted


def test_json() -> None:
    assert Reply(reply_pb2.CompleteResponse(parts=[Part(text='{"a":'), Part(text="1}")])).json() == {"a": 1}


def test_arguments_are_read_when_asked_for() -> None:
    assert ToolCall("c", "t", "").arguments == {}
    for text in ('{"x": ', "[1]"):
        with pytest.raises(ValueError, match=r"."):
            _ = ToolCall("c", "t", text).arguments


def test_a_tool_call_is_answered() -> None:
    message = ToolCall("c", "t", "").result("42", is_error=True)
    result = message.parts[0].tool_result
    assert message.role == message_pb2.ROLE_TOOL
    assert (result.tool_call_id, result.name, result.content[0].text, result.is_error) == ("c", "t", "42", True)


def started() -> list[reply_pb2.Event]:
    return [
        reply_pb2.Event(seq=1, started=reply_pb2.Started()),
        reply_pb2.Event(seq=2, part_started=reply_pb2.PartStarted(kind=reply_pb2.PART_KIND_REFUSAL)),
        reply_pb2.Event(seq=3, part_started=reply_pb2.PartStarted(kind=reply_pb2.PART_KIND_TEXT, part_index=1)),
        reply_pb2.Event(seq=4, text_delta=reply_pb2.TextDelta(part_index=0, text="no")),
        reply_pb2.Event(seq=5, text_delta=reply_pb2.TextDelta(part_index=1, text="yes")),
    ]


def test_text_of_a_refusal_is_not_the_answers() -> None:
    assembly = Assembly()
    events = assembly.take(reply_pb2.StreamCompleteResponse(events=started()))
    assert "".join(assembly.text_of(each) for each in events) == "yes" == assembly.so_far().text
    assert assembly.so_far().refusal == "no"


def test_events_of_a_newer_gateway_are_passed_over() -> None:
    assert event_of(reply_pb2.Event(seq=1)) is None
    assert isinstance(event_of(reply_pb2.Event(heartbeat=Heartbeat())), Heartbeat)


def test_what_arrived_is_not_changed_by_what_comes_later() -> None:
    assembly = Assembly()
    assembly.take(reply_pb2.StreamCompleteResponse(events=started()))
    before = assembly.so_far()
    later = reply_pb2.Event(seq=6, text_delta=TextDelta(part_index=1, text="!"))
    assembly.take(reply_pb2.StreamCompleteResponse(events=[later]))
    assert (before.text, assembly.so_far().text) == ("yes", "yes!")


def test_a_stream_that_lost_something_is_broken() -> None:
    assembly = Assembly()
    with pytest.raises(BrokenStream, match="did not finish"):
        assembly.reply()
    with pytest.raises(BrokenStream, match="follows event 0"):
        assembly.take(reply_pb2.StreamCompleteResponse(events=started()[1:]))
