"""Figures of providers: which are believed, and what stands in for the others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmgateway_server.attempts.believable import INPUT_DETAILS, OUTPUT_DETAILS, filled, is_believable
from llmgateway_server.core.calls import Attempt
from llmgateway_server.core.messages import (
    Content,
    MediaPart,
    Message,
    Part,
    ProviderState,
    Role,
    TextPart,
    ToolResultPart,
)
from llmgateway_server.core.requests import (
    CompleteRequest,
    EmbedRequest,
    FormatKind,
    Request,
    ResponseFormat,
    Tool,
)
from llmgateway_server.core.targets import NO_PROFILE, Profile
from llmgateway_server.core.usage import Usage, UsageSource
from tests.unit.attempts.attempt_kit import attempt_of

COUNTS = ("input_token_count", "output_token_count", *INPUT_DETAILS, *OUTPUT_DETAILS)
ESTIMATE = Usage(100, 50, source=UsageSource.ESTIMATED)
LIKELY_INPUT, LIKELY_OUTPUT = 10 * 100 + 1_000, 10 * 50 + 1_000
KNOWN = Profile(context_token_count=300_000, max_output_token_count=10_000)
STATE = ProviderState("v", b"{}")
IMAGE = MediaPart("image/png", data=b"x")


def asking(*contents: Content, state: ProviderState | None = None, **options: Any) -> CompleteRequest:
    parts = [Part(content, provider_state=state) for content in contents]
    return CompleteRequest("m", [Message(Role.USER, parts)] if parts else [], **options)


def believed(counts: Mapping[str, Any], attempt: Attempt, *, cited: bool = False) -> bool:
    return is_believable(replace(Usage(), **counts), ESTIMATE, attempt, vendor_read_more=cited)


def most(side: str, request: Request | None = None, profile: Profile = NO_PROFILE, *, cited: bool = False) -> int:
    """Returns the largest count of this side that is believed."""
    attempt = attempt_of(request, profile=profile)
    low, high = 0, 10**8
    while low < high:
        middle = (low + high + 1) // 2
        enough = believed({f"{side}_token_count": middle}, attempt, cited=cited)
        low, high = (middle, high) if enough else (low, middle - 1)
    return low


@pytest.mark.parametrize(
    ("request_", "profile", "cited", "expected"),
    [
        pytest.param(asking(), NO_PROFILE, False, LIKELY_INPUT, id="nothing"),
        pytest.param(asking(), KNOWN, False, LIKELY_INPUT, id="a-context-alone-proves-nothing"),
        pytest.param(asking(*[TextPart("x")] * 5), KNOWN, False, LIKELY_INPUT + 5 * 32, id="parts"),
        pytest.param(asking(tools=[Tool("f")] * 3), KNOWN, False, LIKELY_INPUT + 3 * 32, id="tools"),
        pytest.param(
            asking(response_format=ResponseFormat(FormatKind.JSON_SCHEMA, schema_json="x" * 700)),
            KNOWN,
            False,
            LIKELY_INPUT + 700,
            id="schema",
        ),
        pytest.param(asking(IMAGE), KNOWN, False, 300_000, id="media"),
        pytest.param(asking(IMAGE), NO_PROFILE, False, 2_000_000, id="media-unknown-context"),
        pytest.param(asking(ToolResultPart("t", "f", [IMAGE])), KNOWN, False, 300_000, id="media-of-a-tool"),
        pytest.param(asking(TextPart("x"), state=STATE), KNOWN, False, 300_000, id="state"),
        pytest.param(asking(provider_options={"d": {"x": 1}}), KNOWN, False, 2_000_000, id="options"),
        pytest.param(asking(), KNOWN, True, 2_000_000, id="sources"),
        pytest.param(asking(), replace(KNOWN, context_token_count=3_000_000), True, 3_000_000, id="large-context"),
        pytest.param(EmbedRequest("m", ["x"]), KNOWN, False, LIKELY_INPUT, id="embedding"),
    ],
)
def test_input(request_: Request, profile: Profile, cited: bool, expected: int) -> None:
    assert most("input", request_, profile, cited=cited) == expected


@pytest.mark.parametrize(
    ("request_", "profile", "cited", "expected"),
    [
        pytest.param(asking(), NO_PROFILE, False, 200_000, id="unknown"),
        pytest.param(asking(), KNOWN, False, 10_564, id="the-model's-cap"),
        pytest.param(asking(max_output_tokens=1_000_000), KNOWN, False, 1_050_064, id="the-caller's-cap"),
        pytest.param(asking(max_output_tokens=5), KNOWN, False, LIKELY_OUTPUT, id="a-small-cap"),
        pytest.param(asking(provider_options={"d": {"x": 1}}), KNOWN, False, 200_000, id="options"),
        pytest.param(asking(), KNOWN, True, 200_000, id="sources"),
    ],
)
def test_output(request_: Request, profile: Profile, cited: bool, expected: int) -> None:
    assert most("output", request_, profile, cited=cited) == expected


@pytest.mark.parametrize("name", COUNTS)
def test_every_count_is_looked_at(name: str) -> None:
    attempt = attempt_of()
    assert believed({name: 0}, attempt)
    assert not believed({name: -1}, attempt)
    assert not believed({name: 10**12}, attempt, cited=True)


def test_nothing_reported_is_nothing_to_doubt() -> None:
    assert is_believable(Usage(), ESTIMATE, attempt_of(), vendor_read_more=False)


def test_a_whole_report_is_left_as_it_is() -> None:
    usage = Usage(10, 5, cache_read_token_count=3)
    assert filled(usage, ESTIMATE, has_output=True) is usage
    assert filled(Usage(10), ESTIMATE, has_output=False) == Usage(10)


def test_a_missing_total_takes_its_details_with_it() -> None:
    usage = Usage(None, 5, cache_read_token_count=3, reasoning_token_count=2)
    expected = Usage(100, 5, reasoning_token_count=2, source=UsageSource.ESTIMATED)
    assert filled(usage, ESTIMATE, has_output=True) == expected
    usage = Usage(10, None, cache_read_token_count=3, reasoning_token_count=2)
    expected = Usage(10, 50, cache_read_token_count=3, source=UsageSource.ESTIMATED)
    assert filled(usage, ESTIMATE, has_output=True) == expected


@given(
    st.builds(Usage, **{name: st.none() | st.integers(-(2**53), 2**53) for name in COUNTS}),
    st.booleans(),
)
def test_what_is_charged_is_never_beyond_reason(usage: Usage, cited: bool) -> None:
    """Whatever is reported, both totals are known in the end, and neither is negative or larger than any model's."""
    can_be = is_believable(usage, ESTIMATE, attempt_of(profile=KNOWN), vendor_read_more=cited)
    final = filled(usage, ESTIMATE, has_output=True) if can_be else ESTIMATE
    assert final.input_token_count is not None
    assert final.output_token_count is not None
    assert 0 <= final.input_token_count <= 2_000_000
    assert 0 <= final.output_token_count <= 200_000
    assert (final.source is UsageSource.REPORTED) == (
        can_be and None not in (usage.input_token_count, usage.output_token_count)
    )


def test_details_are_all_counts_but_the_totals() -> None:
    names = {name for name in Usage.__dataclass_fields__ if name != "source"}
    assert names == set(COUNTS)
