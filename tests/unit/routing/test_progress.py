from __future__ import annotations

import re
from pathlib import Path
from random import Random

import pytest

from llmgateway_server.core.calls import Attempt, AttemptRecord, Call, CallScope, Deadline, Outcome
from llmgateway_server.core.errors import GatewayError, RequestError, UpstreamError
from llmgateway_server.core.reasons import Reason
from llmgateway_server.core.requests import CompleteRequest, Operation
from llmgateway_server.core.targets import Profile, Target
from llmgateway_server.routing.backoff import Backoff
from llmgateway_server.routing.poison import is_poison
from llmgateway_server.routing.progress import MIN_ATTEMPT_S, Progress, Step
from llmgateway_server.routing.retry_budget import CAPACITY, RETRY_COST, RetryBudgets
from llmgateway_server.routing.shares import set_share
from llmgateway_server.routing.standing import Figures, Standings
from llmgateway_server.routing.tries import ROWS, Again, Elsewhere, row_of
from llmgateway_server.testing.clock import ManualClock

A, B, C = (Target(name, "simulator", "chat") for name in "abc")
LONG_S = 600.0


def progress(*targets: Target, most: int = 3, budgets: RetryBudgets | None = None) -> Progress:
    return Progress(targets, most, budgets or RetryBudgets(), Backoff(Random(1)))


def failure(reason: Reason = Reason.UPSTREAM_ERROR, **facts: object) -> UpstreamError:
    return UpstreamError(reason, **facts)  # type: ignore[arg-type]


def walked(targets: tuple[Target, ...], *failures: GatewayError, most: int = 3) -> list[Step | None]:
    """Follows the steps; each failure is that of the step before."""
    tries = progress(*targets, most=most)
    steps: list[Step | None] = [tries.first()]
    for each in failures:
        last = steps[-1]
        assert last is not None
        steps.append(tries.after(last.target, each, LONG_S))
    return steps


def places(steps: list[Step | None]) -> list[tuple[str, bool] | None]:
    return [None if step is None else (step.target.provider, step.again) for step in steps]


def test_others_come_before_a_retry() -> None:
    steps = walked((A, B), failure(), failure(), failure())
    assert places(steps)[:2] == [("a", False), ("b", False)]
    assert [None if step is None else step.again for step in steps[2:]] == [True, None]
    assert [step.delay_s for step in steps[:2] if step] == [0.0, 0.0]


def test_three_attempts_are_all() -> None:
    assert places(walked((A, B, C), failure(), failure(), failure())) == [
        ("a", False),
        ("b", False),
        ("c", False),
        None,
    ]
    assert places(walked((A,), failure(), failure(), failure())) == [("a", False), ("a", True), ("a", True), None]
    assert places(walked((A, B), failure(), most=1)) == [("a", False), None]


@pytest.mark.parametrize("reason", sorted(ROWS))
def test_each_row(reason: Reason) -> None:
    row = ROWS[reason]
    alone = walked((A,), failure(reason))
    beside = walked((A, B), failure(reason))
    assert (alone[1] is not None) is (row.again is not Again.NEVER)
    expected = "b" if row.elsewhere is Elsewhere.ANY else "a" if alone[1] else None
    assert (beside[1].target.provider if beside[1] else None) == expected


def test_once_is_once() -> None:
    assert places(walked((A,), failure(Reason.UPSTREAM_MALFORMED), failure(Reason.UPSTREAM_MALFORMED))) == [
        ("a", False),
        ("a", True),
        None,
    ]


def test_a_timeout_with_a_status_may_be_retried() -> None:
    assert row_of(failure(Reason.UPSTREAM_TIMEOUT)).again is Again.NEVER
    assert row_of(failure(Reason.UPSTREAM_TIMEOUT, http_status=504)).again is Again.WHILE_ALLOWED


def test_what_the_request_caused_ends_it() -> None:
    assert places(walked((A, B), RequestError(Reason.INVALID_REQUEST))) == [("a", False), None]
    assert places(walked((A, B), failure(Reason.UPSTREAM_REJECTED_REQUEST))) == [("a", False), None]


def test_too_long_a_request_goes_to_a_larger_target_alone() -> None:
    small, same, large = (
        Target(name, "simulator", "m", profile=Profile(context_token_count=size))
        for name, size in (("small", 1000), ("same", 1000), ("large", 2000))
    )
    steps = walked((small, same, large), failure(Reason.CONTEXT_LENGTH_EXCEEDED))
    assert places(steps) == [("small", False), ("large", False)]
    assert places(walked((small, same), failure(Reason.CONTEXT_LENGTH_EXCEEDED))) == [("small", False), None]


@pytest.mark.parametrize(
    ("had", "told", "most", "goes"),
    [
        (8000, "", 16_000, True),
        (None, "", 16_000, False),
        (None, "8000", 16_000, True),
        (200_000, "8000", 16_000, True),
        (8000, "16000", 16_000, False),
        (8000, "8000", None, False),
        (8000, "some", 16_000, True),
    ],
)
def test_what_a_provider_says_of_its_context_goes_before_its_profile(
    had: int | None, told: str, most: int | None, goes: bool
) -> None:
    first, second = (
        Target(name, "simulator", "m", profile=Profile(context_token_count=size))
        for name, size in (("a", had), ("b", most))
    )
    too_long = failure(Reason.CONTEXT_LENGTH_EXCEEDED, slots={"maxTokens": told})
    assert places(walked((first, second), too_long))[1] == (("b", False) if goes else None)


def test_another_key_is_the_same_target_at_once() -> None:
    refused = failure(Reason.PROVIDER_AUTH_FAILED)
    refused.another_key = True
    steps = walked((A, B), refused, failure(Reason.PROVIDER_AUTH_FAILED))
    assert places(steps) == [("a", False), ("a", False), ("b", False)]


def test_an_account_with_more_bad_keys_than_attempts_does_not_keep_a_call_from_another() -> None:
    refused = failure(Reason.PROVIDER_AUTH_FAILED)
    refused.another_key = True
    assert places(walked((A, B), refused, refused)) == [("a", False), ("a", False), ("b", False)]
    assert places(walked((A, B), refused, most=2)) == [("a", False), ("b", False)]
    assert places(walked((A,), refused, refused)) == [("a", False)] * 3
    alone = Progress((A, B), 2, RetryBudgets(), Backoff(Random(1)), lambda target: target is not B)
    alone.first()
    assert alone.after(A, refused, LONG_S) == Step(A)


def test_an_open_circuit_is_no_attempt() -> None:
    shut = failure(Reason.CIRCUIT_OPEN)
    steps = walked((A, B, C), shut, failure(), failure())
    assert places(steps)[:3] == [("a", False), ("b", False), ("c", False)]
    last = steps[-1]
    assert last is not None
    assert last.again


def test_nothing_begins_without_time() -> None:
    tries = progress(A, B)
    tries.first()
    assert tries.after(A, failure(), MIN_ATTEMPT_S - 0.01) is None
    passed_over = progress(A, B)
    passed_over.first()
    # Nothing was begun yet, and a call's first attempt needs no time that we know of.
    assert passed_over.after(A, failure(Reason.CIRCUIT_OPEN), MIN_ATTEMPT_S - 0.01) == Step(B)
    tries = progress(A, B)
    tries.first()
    assert tries.after(A, failure(), MIN_ATTEMPT_S) == Step(B)


def test_a_retry_waits_for_what_the_provider_asked() -> None:
    limited = failure(Reason.UPSTREAM_RATE_LIMITED, retry_after_s=2.0)
    step = walked((A,), limited)[1]
    assert step is not None
    assert 2.0 <= step.delay_s <= 8.0
    assert walked((A,), failure(Reason.UPSTREAM_RATE_LIMITED, retry_after_s=6.0))[1] is None


def test_an_empty_budget_is_told() -> None:
    budgets = RetryBudgets()
    for _ in range(CAPACITY // RETRY_COST):
        assert budgets.take(A, timed_out=False)
        budgets.ended(A, again=True, succeeded=False)
    tries = progress(A, budgets=budgets)
    tries.first()
    told = failure()
    assert tries.after(A, told, LONG_S) is None
    assert told.slots["retrySuppressed"] == "true"


def test_the_others_are_those_for_whom_attempts_are_left() -> None:
    for most, counts in ((3, [2, 1, 0]), (2, [1, 0])):
        tries = progress(A, B, C, most=most)
        tries.first()
        found = [tries.others]
        for failed in (A, B)[: most - 1]:
            tries.after(failed, failure(), LONG_S)
            found.append(tries.others)
        assert found == counts


@pytest.mark.parametrize(
    ("reason", "spoke", "usable", "tokens", "goes", "suppressed"),
    [
        (Reason.UPSTREAM_STALLED, True, True, CAPACITY, True, None),
        (Reason.UPSTREAM_STALLED, False, True, CAPACITY, False, None),
        (Reason.UPSTREAM_OVERLOADED, False, True, CAPACITY, True, None),
        (Reason.UPSTREAM_OVERLOADED, True, False, CAPACITY, False, None),
        (Reason.UPSTREAM_OVERLOADED, True, True, RETRY_COST - 1, False, "true"),
    ],
)
def test_who_goes_on_with_its_own_stream(  # noqa: PLR0917  # the columns of the table
    reason: Reason, spoke: bool, usable: bool, tokens: int, goes: bool, suppressed: str | None
) -> None:
    budgets, broke = RetryBudgets(), failure(reason)
    budgets.of(A).tokens = tokens
    tries = Progress((A,), 3, budgets, Backoff(Random(1)), lambda _: usable)
    tries.first()
    step = tries.onward(A, broke, LONG_S, spoke=spoke)
    assert step == (Step(A, again=True) if goes else None)
    assert broke.slots.get("retrySuppressed") == suppressed


def record(number: int, target: Target, status: int = 500, key: str = "") -> AttemptRecord:
    return AttemptRecord(number, target, reason=Reason.UPSTREAM_ERROR, http_status=status, key_id=key)


def test_poison() -> None:
    standings = Standings(ManualClock())
    assert is_poison([record(1, A), record(2, B)], standings)
    assert is_poison([record(1, A, key="key-1"), record(2, A, key="key-2")], standings)
    assert not is_poison([record(1, A)], standings)
    assert not is_poison([record(1, A), record(2, A)], standings)  # a retry at the same place shows nothing
    assert not is_poison([record(1, A), record(2, B, status=502)], standings)
    assert not is_poison([record(1, A), record(2, Target("b", "openai", "chat"))], standings)


def test_poison_is_told_from_targets_that_failed_before() -> None:
    """Their failures in a row must be those of the two attempts, whether these were at one target or at two."""
    standings = Standings(ManualClock())
    two_targets, two_keys = [record(1, A), record(2, B)], [record(1, A, key="key-1"), record(2, A, key="key-2")]
    found = []
    for failing in (B, A, A, A):
        standings.began(failing)
        standings.ended(AttemptRecord(1, failing, Outcome.FAILED, Reason.UPSTREAM_ERROR), streamed=True)
        found.append((is_poison(two_targets, standings), is_poison(two_keys, standings)))
    assert found[1:] == [(True, True), (False, True), (False, False)]


def attempt(*, streaming: bool) -> Attempt:
    scope = CallScope("id", "/s/m", "p", {}, 0.0, Deadline(1.0, from_client=False))
    call = Call(scope, Operation.COMPLETE, streaming, CompleteRequest("m", []))
    return Attempt(call, A, AttemptRecord(1, A))


def usual(first_s: float, samples: float) -> Figures:
    return Figures(first_s, 100.0, 0.0, 1.0, 0, 0, 0, samples)


@pytest.mark.parametrize(
    ("streaming", "others", "remaining_s", "known", "share_s", "fair"),
    [
        (True, 0, 60.0, None, float("inf"), True),
        (False, 0, 60.0, None, float("inf"), True),
        (True, 2, 60.0, None, 20.0, False),
        (True, 1, 60.0, None, 30.0, True),
        (True, 2, 9.0, usual(0.5, 10), 3.0, False),
        (True, 2, 18.0, usual(0.5, 10), 6.0, True),
        (True, 2, 9.0, usual(2.0, 10), 8.0, True),
        (True, 2, 9.0, usual(2.0, 1), 3.0, False),
        (False, 2, 60.0, None, 30.0, True),
        (False, 1, 20.0, None, 10.0, False),
        (False, 1, 60.0, usual(5.0, 10), 40.48, True),
        (True, 1, 0.5, None, float("inf"), True),
    ],
)
def test_shares(  # noqa: PLR0917  # the columns of the table
    streaming: bool, others: int, remaining_s: float, known: Figures | None, share_s: float, fair: bool
) -> None:
    tried = attempt(streaming=streaming)
    set_share(tried, others, remaining_s, known, first_token_s=30.0)
    assert tried.share_s == pytest.approx(share_s, abs=0.01)
    assert tried.fair_share is fair


def test_the_page_has_the_table() -> None:
    page = (Path(__file__).parents[3] / "docs" / "failover.md").read_text(encoding="utf-8")
    told = re.findall(r"^\| `(\w+)` \| (.*?) \| (.*?) \|$", page, re.MULTILINE)
    elsewhere = {Elsewhere.ANY: "any", Elsewhere.NONE: "no", Elsewhere.LARGER: "one that takes more input"}
    again = {Again.NEVER: "no", Again.ONCE: "once", Again.WHILE_ALLOWED: "yes"}
    rows = {name: row for name, *row in told if name in ROWS}
    assert rows == {reason: [elsewhere[row.elsewhere], again[row.again]] for reason, row in ROWS.items()}


def test_a_conflict_is_asked_again_where_it_was() -> None:
    for seed in range(20):  # whatever the delays, which are drawn
        tries = Progress((A, B), 3, RetryBudgets(), Backoff(Random(seed)))
        tries.first()
        assert tries.after(A, failure(Reason.UPSTREAM_RESET), LONG_S) == Step(B)
        step = tries.after(B, failure(Reason.UPSTREAM_CONFLICT), LONG_S)
        assert step is not None
        assert step.target is B


def test_a_conflict_does_not_go_to_a_larger_target() -> None:
    small, large = (
        Target(name, "simulator", "m", profile=Profile(context_token_count=size))
        for name, size in (("small", 1000), ("large", 2000))
    )
    assert places(walked((small, large), failure(Reason.UPSTREAM_CONFLICT)))[1] == ("small", True)


def test_a_wait_that_leaves_no_time_for_an_attempt_is_not_begun() -> None:
    limited = failure(Reason.UPSTREAM_RATE_LIMITED, retry_after_s=2.0)
    for left_s, waits in ((2.0 + MIN_ATTEMPT_S + 0.1, True), (2.0 + MIN_ATTEMPT_S - 0.1, False)):
        tries = progress(A)
        tries.first()
        assert (tries.after(A, limited, left_s) is not None) is waits
