import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmgateway_server.core.messages import Message, Part, Role, TextPart
from llmgateway_server.core.requests import CompleteRequest, ReasoningOptions, Tool
from llmgateway_server.routing.complexity import complexity_of, tier_for
from tests.unit.routing.routing_kit import asked, unhurried

CODE = "Why does this fail?\n```python\nprint(1)\n```"
requests = st.builds(
    asked,
    st.text(max_size=50),
    st.sampled_from(["", CODE, "def f():\n    return 1", "prove that it is so", "x" * 9000]),
    tools=st.lists(st.builds(Tool, st.just("t")), max_size=8),
    reasoning=st.none()
    | st.builds(
        ReasoningOptions,
        effort=st.none() | st.sampled_from(["none", "minimal", "low", "medium", "high", "max", "odd"]),
        budget_token_count=st.none() | st.integers(0, 100_000),
    ),
)


@unhurried
@given(requests)
def test_it_is_a_share_and_nothing_more_makes_it_less(request: CompleteRequest) -> None:
    before = complexity_of(request)
    assert 0.0 <= before < 1.0
    request.tools.append(Tool("another"))
    with_tool = complexity_of(request)
    request.input_byte_count += 1000
    longer = complexity_of(request)
    request.messages[:0] = [Message(Role.USER, [Part(TextPart("hi"))])]
    assert before <= with_tool <= longer <= complexity_of(request)


@pytest.mark.parametrize(
    ("request_", "expected", "tier"),
    [
        (asked("Hello!"), 0.0, "BASIC"),
        (asked(*["And then?"] * 11), 0.3, "BASIC"),
        (asked("x" * 16_000), 0.5, "STANDARD"),
        (asked("What is the weather?", tools=[Tool("weather")]), 0.125, "BASIC"),
        (asked(CODE), 0.4, "STANDARD"),
        (asked("import x\ndef f():"), 0.4, "STANDARD"),
        (asked("In a class of its own"), 0.0, "BASIC"),
        (asked(CODE, tools=[Tool("t")] * 4), 1 - 0.6 * 0.5 * 0.97, "PREMIUM"),
        (asked("Prove that there are infinitely many primes."), 0.35, "STANDARD"),
        (asked("Hello", reasoning=ReasoningOptions(effort="high")), 0.7, "PREMIUM"),
        (asked("Hello", reasoning=ReasoningOptions(budget_token_count=8192)), 0.35, "STANDARD"),
        (asked("step by step", reasoning=ReasoningOptions(effort="none")), 0.0, "BASIC"),  # what is said counts more
    ],
)
def test_examples(request_: CompleteRequest, expected: float, tier: str) -> None:
    assert complexity_of(request_) == pytest.approx(expected, abs=0.01)
    assert tier_for(round(complexity_of(request_), 2)) == tier


def test_thresholds() -> None:
    assert [tier_for(each) for each in (0.0, 0.3, 0.31, 0.6, 0.61, 1.0)] == [
        *["BASIC"] * 2,
        *["STANDARD"] * 2,
        *["PREMIUM"] * 2,
    ]
    assert tier_for(1.0, 1.0, 1.0) == "BASIC"


@pytest.mark.parametrize("fields", [{"count": 10_000, "size": 10}, {"count": 4, "size": 4_000_000}])
def test_the_cost_does_not_grow_with_the_request(fields: dict[str, Any]) -> None:
    request = asked(*["y" * fields["size"]] * fields["count"])
    took = []
    for _ in range(5):
        began = time.perf_counter()
        complexity_of(request)
        took.append(time.perf_counter() - began)
    assert min(took) < 0.005


def test_what_the_assistant_said_last_asks_for_nothing() -> None:
    request = asked("hi")
    request.messages.append(Message(Role.ASSISTANT, [Part(TextPart("step by step"))]))
    assert complexity_of(request) == pytest.approx(0.0, abs=0.01)
    assert complexity_of(CompleteRequest("m", [])) == 0.0
