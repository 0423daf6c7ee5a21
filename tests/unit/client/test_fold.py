import pytest

from llmgateway.fold import fold
from llmgateway.v1 import message_pb2, reply_pb2, routing_pb2, usage_pb2

Event = reply_pb2.Event
STARTED = Event(started=reply_pb2.Started(response_id="r", target=routing_pb2.Target(provider="p")))
PART = Event(part_started=reply_pb2.PartStarted(part_index=0, kind=reply_pb2.PART_KIND_TEXT))
TEXT = Event(text_delta=reply_pb2.TextDelta(part_index=0, text="a", logprobs=[reply_pb2.TokenLogprob(token="a")]))
OVER = Event(part_finished=reply_pb2.PartFinished(part_index=0, citations=[message_pb2.Citation(title="c")]))
USAGE = Event(usage_snapshot=reply_pb2.UsageSnapshot(usage=usage_pb2.Usage(output_token_count=1)))
BEAT = Event(heartbeat=reply_pb2.Heartbeat())
FINISHED = Event(finished=reply_pb2.Finished(finish_reason=reply_pb2.FINISH_REASON_STOP))
NEWER = Event()


def numbered(*events: Event) -> list[Event]:
    found = []
    for seq, event in enumerate(events, start=1):
        copy = Event()
        copy.CopyFrom(event)
        copy.seq = seq
        found.append(copy)
    return found


def test_a_whole_stream() -> None:
    response = fold(numbered(BEAT, STARTED, PART, TEXT, BEAT, NEWER, TEXT, OVER, USAGE, FINISHED))
    assert [part.text for part in response.parts] == ["aa"]
    assert [citation.title for citation in response.parts[0].citations] == ["c"]
    assert (response.response_id, response.target.provider) == ("r", "p")
    assert len(response.logprobs) == 2
    assert response.finish_reason == reply_pb2.FINISH_REASON_STOP
    assert not response.HasField("usage")  # the last event counts, and it has none


def test_every_kind_of_part() -> None:
    def begin(index: int, kind: reply_pb2.PartKind.ValueType) -> Event:
        return Event(
            part_started=reply_pb2.PartStarted(
                part_index=index, kind=kind, tool_call_id="c", tool_name="t", mime_type="image/png", redacted=True
            )
        )

    state = message_pb2.ProviderState(vendor="v", data=b"s")
    response = fold(
        numbered(
            STARTED,
            begin(0, reply_pb2.PART_KIND_REASONING),
            begin(1, reply_pb2.PART_KIND_TOOL_CALL),
            begin(2, reply_pb2.PART_KIND_REFUSAL),
            begin(3, reply_pb2.PART_KIND_MEDIA),
            begin(4, 77),  # type: ignore[arg-type]  # of a newer server
            Event(tool_arguments_delta=reply_pb2.ToolArgumentsDelta(part_index=1, arguments_json="{")),
            Event(reasoning_delta=reply_pb2.ReasoningDelta(part_index=0, text="hm")),
            Event(tool_arguments_delta=reply_pb2.ToolArgumentsDelta(part_index=1, arguments_json="}")),
            Event(text_delta=reply_pb2.TextDelta(part_index=2, text="no")),
            Event(media_delta=reply_pb2.MediaDelta(part_index=3, data=b"x")),
            Event(media_delta=reply_pb2.MediaDelta(part_index=3, data=b"y")),
            Event(part_finished=reply_pb2.PartFinished(part_index=0, provider_state=state)),
            Event(guardrail_verdict=reply_pb2.GuardrailVerdict(check="g")),
            Event(target_switched=reply_pb2.TargetSwitched(target=routing_pb2.Target(provider="q"))),
            FINISHED,
        )
    )
    reasoning, call, refusal, media, unknown = response.parts
    assert (reasoning.reasoning.text, reasoning.reasoning.redacted, reasoning.provider_state) == ("hm", True, state)
    assert (call.tool_call.id, call.tool_call.name, call.tool_call.arguments_json) == ("c", "t", "{}")
    assert (refusal.refusal.text, media.media.data, media.media.mime_type) == ("no", b"xy", "image/png")
    assert unknown.WhichOneof("content") is None
    assert response.target.provider == "q"
    assert (len(response.guardrail_verdicts), len(response.target_switches)) == (1, 1)


SECOND_PART = Event(part_started=reply_pb2.PartStarted(part_index=1, kind=reply_pb2.PART_KIND_TEXT))
NO_PART = Event(text_delta=reply_pb2.TextDelta(part_index=-1))
OTHER_KIND = Event(reasoning_delta=reply_pb2.ReasoningDelta(part_index=0))


@pytest.mark.parametrize(
    ("events", "words"),
    [
        (numbered(), "did not finish"),
        (numbered(STARTED, PART, TEXT, OVER), "did not finish"),
        (numbered(FINISHED), "did not start"),
        (numbered(PART, STARTED, FINISHED), "did not start"),
        (numbered(STARTED, STARTED, FINISHED), "second started"),
        (numbered(STARTED, FINISHED, FINISHED), "behind finished"),
        (numbered(STARTED, FINISHED, BEAT), "behind finished"),
        (numbered(STARTED, TEXT, FINISHED), "did not begin"),
        (numbered(STARTED, PART, NO_PART, FINISHED), "did not begin"),
        (numbered(STARTED, PART, OVER, TEXT, FINISHED), "is over"),
        (numbered(STARTED, PART, OVER, OVER, FINISHED), "is over"),
        (numbered(STARTED, PART, OTHER_KIND, FINISHED), "another kind"),
        (numbered(STARTED, SECOND_PART, FINISHED), "began as number 0"),
        (numbered(STARTED, PART, PART, FINISHED), "began as number 1"),
        (numbered(STARTED, PART, FINISHED)[1:], "follows event 0"),
        (numbered(STARTED, PART, FINISHED)[::2], "event 3 follows event 1"),
        ([STARTED, FINISHED], "event 0"),
    ],
)
def test_what_is_no_stream(events: list[Event], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        fold(events)


def switched(provider: str, *, restarted: bool) -> Event:
    return Event(
        target_switched=reply_pb2.TargetSwitched(target=routing_pb2.Target(provider=provider), restarted=restarted)
    )


def test_a_reply_that_began_afresh_has_nothing_of_the_one_before() -> None:
    response = fold(
        numbered(
            STARTED, PART, TEXT, OVER, SECOND_PART, switched("q", restarted=True), PART, TEXT, TEXT, OVER, FINISHED
        )
    )
    assert [part.text for part in response.parts] == ["aa"]
    assert len(response.logprobs) == 2
    assert (response.response_id, response.target.provider) == ("r", "q")
    assert [each.target.provider for each in response.target_switches] == ["q"]


def test_a_reply_that_another_target_continued_keeps_its_parts() -> None:
    response = fold(numbered(STARTED, PART, TEXT, switched("q", restarted=False), TEXT, OVER, FINISHED))
    assert [part.text for part in response.parts] == ["aa"]
    assert len(response.logprobs) == 2
    assert response.target.provider == "q"


def test_what_came_before_a_fresh_beginning_cannot_go_on() -> None:
    with pytest.raises(ValueError, match="did not begin"):
        fold(numbered(STARTED, PART, TEXT, switched("q", restarted=True), TEXT, OVER, FINISHED))
