from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmgateway_server.core.calls import Call, CallScope, Deadline
from llmgateway_server.core.events import (
    Event,
    Finished,
    FinishReason,
    MediaDelta,
    PartKind,
    PartStarted,
    ReasoningDelta,
    TextDelta,
    ToolArgumentsDelta,
)
from llmgateway_server.core.messages import (
    MediaPart,
    Message,
    Part,
    ReasoningPart,
    Role,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)
from llmgateway_server.core.principal import Principal
from llmgateway_server.core.requests import CompleteRequest, CountTokensRequest, EmbedRequest, Operation, Request
from llmgateway_server.observe.content import MARGIN_CHARS, MAX_CHARS, ContentLog, ContentReading, masked_within

KEY = "sk-proj-abcdefghijklmnop0123456789"


def said(text: str, role: Role = Role.USER) -> Message:
    return Message(role, [Part(TextPart(text))])


def reading(*messages: Message) -> ContentReading:
    return ContentReading(CompleteRequest("m", list(messages)))


def replied(*events: Event) -> str:
    found = reading()
    for event in events:
        found.add([event])
    return found.reply_text()


def test_a_request_is_a_line_for_each_part() -> None:
    messages = [
        said("be kind", Role.SYSTEM),
        Message(Role.USER, [Part(TextPart("mail a@b.example")), Part(MediaPart("image/png", b"x"))]),
        Message(Role.ASSISTANT, [Part(ReasoningPart("hm")), Part(ToolCallPart("1", "find", '{"q":1}'))]),
        Message(Role.TOOL, [Part(ToolResultPart("1", "find", [TextPart("no"), MediaPart("image/png", b"x")]))]),
    ]
    text = (
        'system: be kind\nuser: mail [EMAIL]\nuser: [MEDIA]\nassistant: hm\nassistant: find({"q":1})\n'
        "tool: no\ntool: [MEDIA]"
    )
    assert reading(*messages).request_text() == text
    counted: Request = CountTokensRequest(CompleteRequest("m", messages))
    assert ContentReading(counted).request_text() == text
    assert ContentReading(EmbedRequest("m", ["a", "b"])).request_text() == "input: a\ninput: b"
    assert reading().request_text() == reading().reply_text() == ""


def test_a_reply_is_a_line_for_each_part() -> None:
    text = replied(
        PartStarted(0, PartKind.REASONING),
        PartStarted(1, PartKind.TEXT),
        ReasoningDelta(0, "h"),
        TextDelta(1, "answer"),
        ReasoningDelta(0, "m"),
        PartStarted(2, PartKind.TOOL_CALL, "id", "find"),
        ToolArgumentsDelta(2, "{}"),
        PartStarted(3, PartKind.MEDIA),
        MediaDelta(3, b"canary"),
        TextDelta(4, "without a beginning"),
        Finished(FinishReason.STOP),
    )
    assert text == "reasoning: hm\ntext: answer\ntool_call find: {}\nmedia: [MEDIA]\ntext: without a beginning"


@given(st.data())
def test_it_makes_no_difference_how_a_reply_comes_in_pieces(data: Any) -> None:
    whole = f"see {KEY} or mail jane@mail.example at 203.0.113.7, card 4111 1111 1111 1111"
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=20)))
    pieces = [whole[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    assert replied(*(TextDelta(0, piece) for piece in pieces)) == (
        "text: see [KEY] or mail [EMAIL] at [IP], card [CARD]"
    )


def test_texts_are_bounded() -> None:
    many = [said(f"{number} {'word ' * 100}") for number in range(100)]
    found = reading(*many)
    for number in range(100):
        found.add([TextDelta(0, f"{number} {'word ' * 1000}")])
    for text in (found.request_text(), found.reply_text()):
        assert MAX_CHARS * 0.8 < len(text) <= MAX_CHARS
    assert found.request_text().startswith("…\nuser: ")  # the newest messages stay
    assert "user: 99 word" in found.request_text()
    assert found.reply_text().startswith("text: 0 word")
    assert found.reply_text().endswith("…")
    assert sum(map(len, found._parts[0].pieces)) == MAX_CHARS + MARGIN_CHARS
    assert len(reading(said("x" * 100_000)).request_text()) <= MAX_CHARS


@pytest.mark.parametrize(
    "secret", [KEY, "4111 1111 1111 1111", "jane.doe@mail.example", "eyJ" + "a1" * 2000, "203.0.113.77"]
)
@pytest.mark.parametrize("before", range(-40, 10, 7))
def test_no_half_of_a_secret_is_left_where_a_text_is_cut(secret: str, before: int) -> None:
    for edge in (MAX_CHARS, MAX_CHARS + MARGIN_CHARS):
        text = "ab " * ((edge + before) // 3) + secret + " tail" * 2000
        cut = masked_within(text, MAX_CHARS)
        assert len(cut) <= MAX_CHARS
        assert secret[:8] not in cut


def test_masks_that_shrink_a_text_bring_nothing_unseen_into_it() -> None:
    """Many long secrets become short masks: what moves up with them was looked at."""
    text = " ".join(f"sk-{number:04}{'a1' * 100}" for number in range(200))
    cut = masked_within(text, MAX_CHARS)
    assert set(cut.split()) <= {"[KEY]", "…"}


def test_content_may_be_asked_for_by_tenant() -> None:
    scope = CallScope("id", "/s/m", "p", {}, 0.0, Deadline(1.0, from_client=False), Principal("k", "acme", frozenset()))
    call = Call(scope, Operation.COMPLETE, streaming=False, request=CompleteRequest("m", []))
    assert ContentLog().reading(call) is not None
    assert ContentLog(("acme",)).reading(call) is not None
    assert ContentLog(("other",)).reading(call) is None
