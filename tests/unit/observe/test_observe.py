import io
import json
import math
from pathlib import Path

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from llmgateway_server.core.calls import AttemptRecord, Call, CallScope, Deadline, Outcome
from llmgateway_server.core.errors import AccessError, GatewayError, RequestError, ShedError, UpstreamError
from llmgateway_server.core.events import Timings
from llmgateway_server.core.money import Cost
from llmgateway_server.core.reasons import Reason
from llmgateway_server.core.requests import CompleteRequest, Operation
from llmgateway_server.core.targets import Model, Target
from llmgateway_server.core.usage import Usage
from llmgateway_server.observe import log, records
from llmgateway_server.observe.counting import Counting
from llmgateway_server.observe.records import Records
from llmgateway_server.observe.statistics import MAX_NAMES, OTHER, UNKNOWN, Period, Statistics, Tally
from llmgateway_server.observe.trace import NoTracing
from llmgateway_server.testing.clock import ManualClock

SUCCEEDED = Outcome.SUCCEEDED


def scope(**metadata: str) -> CallScope:
    return CallScope("id", "/s/m", "127.0.0.1", metadata, 0.0, Deadline(1.0, from_client=False))


def call(model: str = "m", outcome: Outcome = SUCCEEDED, provider: str = "p") -> Call:
    record = AttemptRecord(1, Target(provider, "v", model), outcome, usage=Usage(3, 5), cost=Cost(7), latency_s=0.5)
    return Call(
        scope(),
        Operation.COMPLETE,
        streaming=False,
        request=CompleteRequest(model, []),
        model=model,
        resolved=Model(model, (record.target,)),
        attempts=[record],
    )


def ended(statistics: Statistics, outcome: Outcome = SUCCEEDED, latency_s: float = 1.0, **names: str) -> None:
    statistics.call_ended(call(outcome=outcome, **names), outcome, Timings(latency_s, 0.2, 0.5))


def test_sums() -> None:
    statistics = Statistics(ManualClock())
    for outcome in (SUCCEEDED, SUCCEEDED, Outcome.FAILED, Outcome.CANCELLED):
        ended(statistics, outcome)
    statistics.refused(Outcome.SHED, 0.1, None)
    calls = statistics.over(Period.ALL).calls
    assert (calls.count, calls.succeeded, calls.failed, calls.cancelled, calls.shed) == (5, 2, 1, 1, 1)
    assert calls.success_rate() == pytest.approx(2 / 3)
    assert (calls.input_tokens, calls.output_tokens, calls.cost_nano_usd) == (12, 20, 28)
    assert statistics.over(Period.ALL).providers["p"].count == 4
    assert Tally().success_rate() is Tally().average_latency_s() is Tally().latency_percentile_s(0.95) is None


def test_periods_roll_over() -> None:
    clock = ManualClock()
    statistics = Statistics(clock)

    def counts() -> list[int]:
        return [statistics.over(period).calls.count for period in (Period.HOUR, Period.DAY, Period.WEEK, Period.ALL)]

    ended(statistics)
    assert counts() == [1, 1, 1, 1]
    clock.advance(50 * 60)
    ended(statistics)
    assert counts() == [2, 2, 2, 2]
    clock.advance(30 * 60)
    assert counts() == [1, 2, 2, 2]
    clock.advance(25 * 3600)
    ended(statistics)
    assert counts() == [1, 1, 3, 3]
    clock.advance(8 * 24 * 3600)
    assert counts() == [0, 0, 0, 3]
    assert statistics.over(Period.MONTH).calls.count == 3
    assert statistics.uptime_s == pytest.approx(50 * 60 + 30 * 60 + 25 * 3600 + 8 * 24 * 3600)
    statistics.reset()
    assert counts() == [0, 0, 0, 0]
    assert statistics.uptime_s > 0


def test_a_wall_clock_that_goes_back_loses_nothing() -> None:
    clock = ManualClock()
    statistics = Statistics(clock)
    ended(statistics)
    clock.jump_wall(-7200)
    ended(statistics)
    clock.jump_wall(90)
    ended(statistics)
    assert statistics.over(Period.ALL).calls.count == 3


def test_failures_in_a_row() -> None:
    statistics = Statistics(ManualClock())
    for outcome in (Outcome.FAILED, Outcome.CANCELLED, Outcome.FAILED):
        ended(statistics, outcome)
    assert statistics.consecutive_failures("p") == 2
    ended(statistics)
    assert statistics.consecutive_failures("p") == statistics.consecutive_failures("?") == 0


@given(st.lists(st.floats(1e-4, 1e3), min_size=1, max_size=200), st.sampled_from([0.5, 0.95, 0.99]))
def test_percentiles_are_at_most_a_tenth_off(latencies: list[float], share: float) -> None:
    tally = Tally()
    for latency in latencies:
        tally.add(SUCCEEDED, latency, None, (0, 0), 0)
    exact = sorted(latencies)[math.ceil(len(latencies) * share) - 1]
    found = tally.latency_percentile_s(share)
    assert found is not None
    assert abs(found - exact) <= 0.1 * exact


def test_names_are_bounded() -> None:
    clock = ManualClock()
    statistics = Statistics(clock)
    for number in range(2 * MAX_NAMES):
        ended(statistics, model=f"m{number}", provider=f"p{number}")
    clock.advance(61)
    for number in range(MAX_NAMES):
        ended(statistics, model=f"n{number}")
    figures = statistics.over(Period.ALL)
    for tallies in (figures.models, figures.providers):
        assert len(tallies) <= MAX_NAMES + 1
    assert sum(tally.count for tally in figures.models.values()) == figures.calls.count == 3 * MAX_NAMES
    assert figures.models[OTHER].count > MAX_NAMES


@pytest.mark.parametrize(
    ("name", "resolved", "asked", "error", "counted_under"),
    [
        ("gpt-99", False, False, RequestError(Reason.MODEL_NOT_FOUND), UNKNOWN),
        ("secret-model", False, False, AccessError(Reason.MODEL_NOT_ALLOWED), UNKNOWN),
        ("", False, False, RequestError(Reason.MODEL_NOT_FOUND), UNKNOWN),
        ("p/gpt-99", True, True, UpstreamError(Reason.MODEL_NOT_FOUND), UNKNOWN),
        ("p/gpt-99", True, False, RequestError(Reason.UNSUPPORTED_OPTION), UNKNOWN),
        ("p/gpt-99", True, True, UpstreamError(Reason.UPSTREAM_REJECTED_REQUEST), UNKNOWN),
        ("p/gpt-99", True, True, UpstreamError(Reason.UPSTREAM_UNREACHABLE), UNKNOWN),
        ("p/m", True, True, None, "p/m"),
        ("m", True, True, UpstreamError(Reason.MODEL_NOT_FOUND), "m"),
        ("m", True, False, RequestError(Reason.UNSUPPORTED_OPTION), "m"),
    ],
)
def test_invented_names_are_not_kept(
    name: str, resolved: bool, asked: bool, error: GatewayError | None, counted_under: str
) -> None:
    each = call(name)
    if not resolved:
        each.resolved = None
    if not asked:
        each.attempts.clear()
    statistics = Statistics(ManualClock())
    statistics.call_ended(each, Outcome.FAILED if error else SUCCEEDED, Timings(1.0, None, 0.5), error)
    figures = statistics.over(Period.ALL)
    assert {model: sums.count for model, sums in figures.models.items()} == {counted_under: 1}
    assert figures.calls.count == 1


@pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.CANCELLED, Outcome.SHED])
def test_a_pinned_name_counts_once_its_provider_has_answered(outcome: Outcome) -> None:
    statistics = Statistics(ManualClock())

    def counted() -> dict[str, int]:
        return {model: sums.count for model, sums in statistics.over(Period.ALL).models.items()}

    ended(statistics, outcome, model="p/m")
    assert counted() == {UNKNOWN: 1}
    ended(statistics, model="p/m")
    ended(statistics, outcome, model="p/m")
    assert counted() == {UNKNOWN: 1, "p/m": 2}
    statistics.reset()
    ended(statistics, outcome, model="p/m")
    assert counted() == {"p/m": 1}, "a reset forgets figures, not what is known"


def test_content_that_breaks_off_shows_that_a_model_is_there() -> None:
    each = call("p/m", Outcome.FAILED)
    each.attempts[0].time_to_first_token_s = 0.1
    statistics = Statistics(ManualClock())
    statistics.call_ended(each, Outcome.FAILED, Timings(1.0, 0.1, 0.5), UpstreamError(Reason.UPSTREAM_RESET))
    assert set(statistics.over(Period.ALL).models) == {"p/m"}


def test_a_pinned_name_of_the_catalogue_always_counts() -> None:
    statistics = Statistics(ManualClock(), Counting(["p"], [Model("public", (Target("p", "v", "m"),))]))
    for name in ("p/m", "public", "p/gpt-99"):
        ended(statistics, Outcome.FAILED, model=name)
    assert set(statistics.over(Period.ALL).models) == {"p/m", "public", UNKNOWN}


def test_what_is_known_of_pinned_names_is_bounded() -> None:
    statistics = Statistics(ManualClock())
    for number in range(MAX_NAMES + 1):
        ended(statistics, model=f"p/m{number}")
    statistics.reset()
    for number in (0, 1, MAX_NAMES):
        ended(statistics, Outcome.FAILED, model=f"p/m{number}")
    assert set(statistics.over(Period.ALL).models) == {UNKNOWN, "p/m1", f"p/m{MAX_NAMES}"}


async def test_records_are_one_line_each() -> None:
    stream = io.StringIO()
    written = Records(ManualClock(), stream)
    written.call_ended(call(), SUCCEEDED, Timings(1.0, None, 0.5), None)
    written.refused(scope(), Outcome.SHED, ShedError(Reason.OVERLOADED))
    written.flush()
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [(line["record"], line["outcome"]) for line in lines] == [
        ("attempt", "succeeded"),
        ("call", "succeeded"),
        ("call", "shed"),
    ]
    assert lines[2]["reason"] == "OVERLOADED"
    assert lines[0]["cost_nano_usd"] == 7


async def test_a_full_disk_loses_records_and_no_call() -> None:
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        written = Records(ManualClock(), full)
        for _ in range(3):
            written.call_ended(call(), SUCCEEDED, Timings(1.0, None, 0.5), None)
            written.flush()
        assert written.dropped_count == 6
        with pytest.raises(OSError, match="No space"):
            full.close()
    written.refused(scope(), Outcome.FAILED, None)
    written.flush()  # closed by now
    assert written.dropped_count == 7


async def test_waiting_records_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "MAX_PENDING", 10)
    written = Records(ManualClock(), io.StringIO())
    for _ in range(15):
        written.refused(scope(), Outcome.FAILED, None)
    assert written.dropped_count == 5
    written.flush()
    silent = Records(ManualClock(), io.StringIO(), enabled=False)
    silent.refused(scope(), Outcome.FAILED, None)
    assert silent.dropped_count == 0


@pytest.mark.parametrize("form", ["json", "text"])
def test_the_log_never_holds_the_text_of_an_exception(form: str) -> None:
    out = io.StringIO()
    log.configure(log.LogSettings(format=form), out)  # type: ignore[arg-type]
    try:
        raise RuntimeError("canary") from ValueError("canary")
    except RuntimeError as error:
        log.logger("room").error("event", exc_info=error)
    finally:
        structlog.reset_defaults()
    text = out.getvalue()
    assert "canary" not in text
    assert "RuntimeError at test_observe.py:" in text


def test_a_log_that_cannot_be_written_fails_nothing() -> None:
    with Path("/dev/full").open("w", buffering=1, encoding="utf-8") as full:
        log.configure(log.LogSettings(format="json"), full)
        log.logger("room").error("event")
        structlog.reset_defaults()
        with pytest.raises(OSError, match="No space"):
            full.close()


@pytest.mark.parametrize(
    ("header", "known"),
    [
        ("00-" + "a1" * 16 + "-" + "b2" * 8 + "-01", True),
        ("00-" + "zz" * 16 + "-" + "b2" * 8 + "-01", False),
        ("00-" + "A1" * 16 + "-" + "b2" * 8 + "-01", False),
        ("00-" + "a1" * 16 + "-" + "b2" * 8, False),
        ("", False),
    ],
)
def test_only_a_trace_id_is_passed_on(header: str, *, known: bool) -> None:
    within = scope(traceparent=header)
    with NoTracing().call(within):
        assert (within.trace is not None) == known
