"""The builder of a reply's parts: the grammar of its events, and what merging may not change."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmgateway_server.core.events import (
    Event,
    Finished,
    FinishReason,
    Logprob,
    PartFinished,
    PartKind,
    PartStarted,
    ReasoningDelta,
    Started,
    TextDelta,
    ToolArgumentsDelta,
    UsageSnapshot,
)
from llmgateway_server.core.usage import Usage
from llmgateway_server.providers.dialects.parts import PartsBuilder
from tests.unit.dialects.kit import FoldedPart, SaidDelta, flat, fold, text_of

FLOWS = (PartKind.TEXT, PartKind.REASONING, PartKind.REFUSAL)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("flow"), st.sampled_from(FLOWS), st.text(max_size=4), st.integers(0, 2)),
        st.tuples(st.just("tool"), st.integers(0, 2), st.text("{}ab", max_size=4)),
        st.just(("take",)),
    ),
    max_size=30,
)


def run(steps: list[Any], *, takes: bool) -> list[list[Event]]:
    """Returns one batch per `take`; without `takes` everything is one read."""
    builder = PartsBuilder()
    builder.add(Started("r", "m"))
    batches = []
    for step in steps:
        match step:
            case ("flow", kind, text, tokens):
                logprobs = tuple(Logprob(f"{text}{n}", -1.0) for n in range(tokens))
                builder.flow(kind, text, () if kind is PartKind.REASONING else logprobs)
            case ("tool", key, arguments):
                builder.tool(key, f"id{key}", f"tool{key}", arguments)
            case _ if takes:
                batches.append(builder.take())
    builder.close()
    builder.add(Finished(FinishReason.STOP))
    return [*batches, builder.take()]


@settings(deadline=None)
@given(STEPS)
def test_merging_is_concatenation(steps: list[Any]) -> None:
    merged = fold(flat(run(steps, takes=False)))
    apart = fold(flat(run(steps, takes=True)))
    each = fold(flat(run([s for step in steps for s in (step, ("take",))], takes=True)))
    assert merged == apart == each
    for kind in FLOWS:
        said = "".join(step[2] for step in steps if step[0] == "flow" and step[1] is kind)
        assert merged.text(kind) == said
    for key in range(3):
        said = "".join(step[2] for step in steps if step[0] == "tool" and step[1] == key)
        assert "".join(arguments for _, name, arguments in merged.calls if name == f"tool{key}") == said


@settings(deadline=None)
@given(STEPS)
def test_a_read_brings_few_deltas_and_the_first_is_alone(steps: list[Any]) -> None:
    steps = [step for step in steps if step[0] != "flow" or step[2] or not step[3]]  # tokens without text: see below
    first_text = next((step[-1] if step[0] == "tool" else step[2] for step in steps if says_something(step)), None)
    events = flat(run(steps, takes=False))
    deltas = [event for event in events if isinstance(event, SaidDelta)]
    if first_text is None:
        assert not deltas
        return
    first = deltas[0]
    assert text_of(first) == first_text
    for one, other in itertools.pairwise(events):
        if one is not first and isinstance(one, SaidDelta) and isinstance(other, SaidDelta):
            assert one.part_index != other.part_index or not text_of(other), "these would be one delta"


def test_tokens_without_text_yet_go_with_the_next() -> None:
    """Tokens may end inside a character."""
    builder = PartsBuilder()
    first, second = Logprob("\\xf0", -1.0), Logprob("\\x9f", -2.0)
    builder.flow(PartKind.TEXT, "", (first,))
    builder.flow(PartKind.TEXT, "😀", (second,))
    builder.close()
    assert [event for event in builder.take() if isinstance(event, TextDelta)] == [TextDelta(0, "😀", (first, second))]


def test_one_of_each_stays_open_for_what_comes_later() -> None:
    builder = PartsBuilder(one_of_each=True)
    builder.flow(PartKind.TEXT, "One. ")
    builder.tool("a", "1", "look", "{}")
    builder.flow(PartKind.TEXT, "Two.")
    builder.close()
    folded = fold([Started("r", "m"), *builder.take(), Finished(FinishReason.STOP)])
    assert folded.parts == [
        FoldedPart(PartKind.TEXT, "One. Two."),
        FoldedPart(PartKind.TOOL_CALL, "{}", tool_call_id="1", tool_name="look"),
    ]


def says_something(step: tuple[Any, ...]) -> bool:
    return (step[0] == "flow" and bool(step[2])) or (step[0] == "tool" and bool(step[2]))


def test_reasoning_then_text_then_tools() -> None:
    builder = PartsBuilder()
    builder.add(Started("r", "m"))
    builder.flow(PartKind.REASONING, "hm")
    builder.flow(PartKind.TEXT, "Hel")
    builder.flow(PartKind.TEXT, "lo")
    builder.tool("a", "1", "look", "{")
    builder.tool("b", "2", "see", "{}")
    builder.tool("a", "1", "look", "}")
    assert builder.made_calls
    builder.close()
    builder.add(UsageSnapshot(Usage(1, 2)))
    assert builder.take() == [
        Started("r", "m"),
        PartStarted(0, PartKind.REASONING),
        ReasoningDelta(0, "hm"),
        PartFinished(0),
        PartStarted(1, PartKind.TEXT),
        TextDelta(1, "Hello"),
        PartFinished(1),
        PartStarted(2, PartKind.TOOL_CALL, tool_call_id="1", tool_name="look"),
        ToolArgumentsDelta(2, "{"),
        PartStarted(3, PartKind.TOOL_CALL, tool_call_id="2", tool_name="see"),
        ToolArgumentsDelta(3, "{}"),
        ToolArgumentsDelta(2, "}"),
        PartFinished(2),
        PartFinished(3),
        UsageSnapshot(Usage(1, 2)),
    ]
    assert builder.take() == []


def test_the_first_delta_is_not_merged_with_the_second() -> None:
    builder = PartsBuilder()
    for text in ("a", "b", "c"):
        builder.flow(PartKind.TEXT, text)
    assert builder.take() == [PartStarted(0, PartKind.TEXT), TextDelta(0, "a"), TextDelta(0, "bc")]


@pytest.mark.parametrize("kind", FLOWS)
def test_empty_text_begins_nothing(kind: PartKind) -> None:
    builder = PartsBuilder()
    builder.flow(kind, "")
    builder.close()
    assert builder.take() == []


def test_log_probabilities_without_text_are_not_lost() -> None:
    builder = PartsBuilder()
    half, whole = Logprob("half", -1.0), Logprob("whole", -2.0)
    builder.flow(PartKind.TEXT, "a")
    builder.flow(PartKind.TEXT, "", (half,))
    builder.flow(PartKind.TEXT, "é", (whole,))
    builder.flow(PartKind.TEXT, "", (half,))
    builder.flow(PartKind.REFUSAL, "no")
    assert builder.take() == [
        PartStarted(0, PartKind.TEXT),
        TextDelta(0, "a"),
        TextDelta(0, "é", (half, whole, half)),
        PartFinished(0),
        PartStarted(1, PartKind.REFUSAL),
        TextDelta(1, "no"),
    ]
