"""The table of metrics, how they are counted and bounded, and the page that Prometheus reads."""

import re
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from llmgateway_server.core.calls import AttemptRecord, Call, CallScope, Deadline, Outcome
from llmgateway_server.core.errors import RequestError, ShedError, UpstreamError
from llmgateway_server.core.events import Timings
from llmgateway_server.core.money import Cost
from llmgateway_server.core.reasons import Reason
from llmgateway_server.core.requests import CompleteRequest, Operation
from llmgateway_server.core.targets import Model, Target
from llmgateway_server.core.usage import Usage
from llmgateway_server.observe import metrics
from llmgateway_server.observe.counting import Counting
from llmgateway_server.observe.exposition import Exposition, Reading
from llmgateway_server.observe.metrics import MAX_SERIES, METRICS, NONE, OPEN_LABELS, OTHER, Kind, Metric
from llmgateway_server.observe.series import Labels
from llmgateway_server.observe.statistics import KEPT_MODELS, Period, Statistics, Sums, Tally
from llmgateway_server.testing.clock import ManualClock

DOCS = Path(__file__).parents[3] / "docs" / "metrics.md"
SEEDED = {
    "llm_gateway_requests_total",
    "llm_gateway_request_duration_ms",
    "llm_gateway_input_tokens_total",
    "llm_gateway_output_tokens_total",
    "llm_gateway_cost_usd_total",
    "llm_gateway_cache_hits_total",
    "llm_gateway_cache_misses_total",
}
READINGS: dict[Metric, Reading] = {
    metrics.DRAINS_IN_FLIGHT: lambda: 0,
    metrics.IN_FLIGHT: lambda: 3,
    metrics.LOOP_LAG: lambda: 0.25,
    metrics.RECORDS_DROPPED: lambda: 2,
    metrics.SPANS_DROPPED: lambda: 4,
}
Samples = dict[tuple[str, tuple[str, ...]], float]
SUCCEEDED, FAILED = Outcome.SUCCEEDED, Outcome.FAILED


def catalogue(*names: str, provider: str = "p") -> list[Model]:
    return [Model(name, (Target(provider, "v", f"up-{name}"),)) for name in names]


def call(model: str = "m", *records: AttemptRecord, streaming: bool = False) -> Call:
    scope = CallScope("id", "/s/m", "127.0.0.1", {}, 0.0, Deadline(1.0, from_client=False))
    resolved = Model(model, (Target("p", "v", model),))
    request = CompleteRequest(model, [])
    return Call(scope, Operation.COMPLETE, streaming, request, model, resolved, attempts=list(records))


def attempt(provider: str = "p", outcome: Outcome = SUCCEEDED, reason: Reason | None = None) -> AttemptRecord:
    return AttemptRecord(
        1,
        Target(provider, "v", "m"),
        outcome,
        reason,
        200 if outcome is SUCCEEDED else 401,
        usage=Usage(3, 5),
        cost=Cost(7, output_nano_usd=1_000_000_000),
        latency_s=0.5,
        request_bytes=100,
        response_bytes=40,
        key_id="key-1",
    )


def counted(counting: Counting, *calls: Call, outcome: Outcome = SUCCEEDED) -> None:
    for each in calls:
        counting.call_began(each)
        counting.call_ended(each, outcome, Timings(0.02, 0.01, 0.01), None)


def page(counting: Counting) -> str:
    return Exposition(counting, "1.2.3", 1_800_000_000.0, READINGS).text().decode()


def samples(text: str) -> Samples:
    """Returns the values by name and label values, in the order of the label names on the page."""
    return {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def series_of(text: str) -> int:
    return sum(not line.startswith("#") for line in text.splitlines())


def test_the_table_keeps_its_rules() -> None:
    names = [metric.name for metric in METRICS]
    assert len(set(names)) == len(names)
    assert set(names) >= SEEDED
    for metric in METRICS:
        assert re.fullmatch("(llm_gateway|process)_[a-z_]+", metric.name)
        assert metric.name.endswith("_total") == (metric.kind is Kind.COUNTER)
        assert bool(metric.buckets) == (metric.kind is Kind.HISTOGRAM)
        assert list(metric.buckets) == sorted(set(metric.buckets))
        assert not {"tenant", "key", "key_id", "call_id"} & set(metric.labels)
        assert re.fullmatch(r"[^\\\n]+\.", metric.help)


def test_the_page_in_docs_shows_the_table() -> None:
    lines = DOCS.read_text(encoding="utf-8").splitlines()
    rows = [
        (f"`{metric.name}`", metric.kind, ", ".join(metric.labels) or "–", metric.unit or "–", metric.help)
        for metric in METRICS
    ]
    assert [line for line in lines if re.match(r"\| `(llm_gateway|process)_", line)] == [
        f"| {' | '.join(row)} |" for row in rows
    ]


def test_every_metric_is_on_the_page_with_its_type_and_help() -> None:
    families = {family.name: family for family in text_string_to_metric_families(page(Counting()))}
    for metric in METRICS:
        family = families[metric.name.removesuffix("_total") if metric.kind is Kind.COUNTER else metric.name]
        assert (family.type, family.documentation) == (metric.kind, metric.help)


def test_a_call_is_counted_once_everywhere() -> None:
    counting = Counting(["p"], catalogue("m"), frozenset({Reason.PROVIDER_AUTH_FAILED}))
    first = attempt(outcome=FAILED, reason=Reason.PROVIDER_AUTH_FAILED)
    counted(counting, call("m", first, attempt()))
    found = samples(page(counting))
    assert found["llm_gateway_requests_total", ("complete", "m", "p", "succeeded")] == 1
    assert found["llm_gateway_attempts_total", ("p", "failed", "PROVIDER_AUTH_FAILED")] == 1
    assert found["llm_gateway_attempts_total", ("p", "succeeded", NONE)] == 1
    assert found["llm_gateway_input_tokens_total", ("p", "m")] == 6
    assert found["llm_gateway_output_tokens_total", ("p", "m")] == 10
    assert found["llm_gateway_cost_usd_total", ("p", "m")] == 2.000000014
    assert found["llm_gateway_upstream_request_bytes_total", ("p",)] == 200
    assert found["llm_gateway_upstream_response_bytes_total", ("p",)] == 80
    assert found["llm_gateway_keys_set_aside_total", ("p", "PROVIDER_AUTH_FAILED")] == 1
    assert found["llm_gateway_time_to_first_token_ms_sum", ("p", "false")] == 10
    assert found["llm_gateway_attempt_duration_ms_count", ("p", "failed")] == 1


def test_what_others_keep_is_read_when_somebody_asks() -> None:
    found = samples(page(Counting()))
    assert found["llm_gateway_in_flight_calls", ()] == 3
    assert found["llm_gateway_loop_lag_seconds", ()] == 0.25
    assert found["llm_gateway_records_dropped_total", ()] == 2
    assert found["llm_gateway_build_info", ("1.2.3",)] == 1
    assert found["process_start_time_seconds", ()] == 1_800_000_000
    assert found["process_cpu_seconds_total", ()] > 0
    assert found["process_resident_memory_bytes", ()] > 1_000_000


def test_buckets_are_cumulative_and_their_bounds_inclusive() -> None:
    counting = Counting()
    for seconds in (0.005, 0.0051, 0.3, 10_000):
        counting.refused(SUCCEEDED, seconds, None)
    found = samples(page(counting))
    labels = (NONE, "false", "succeeded")
    buckets = {bound: found["llm_gateway_request_duration_ms_bucket", (*labels, bound)] for bound in ("5.0", "10.0")}
    assert buckets == {"5.0": 1, "10.0": 2}
    assert found["llm_gateway_request_duration_ms_bucket", (*labels, "600000.0")] == 3
    assert found["llm_gateway_request_duration_ms_bucket", (*labels, "+Inf")] == 4
    assert found["llm_gateway_request_duration_ms_count", labels] == 4
    assert found["llm_gateway_request_duration_ms_sum", labels] == pytest.approx(10_000_310.1)


def test_open_streams_go_up_and_down() -> None:
    counting = Counting()
    running = [call(streaming=True), call(), call(streaming=True)]
    for each in running:
        counting.call_began(each)
    assert samples(page(counting))["llm_gateway_open_streams", ()] == 2
    for each in running:
        counting.call_ended(each, Outcome.CANCELLED, Timings(1.0, None, 0.0), None)
    assert samples(page(counting))["llm_gateway_open_streams", ()] == 0


def test_refusals_by_reason_are_those_without_an_attempt() -> None:
    counting = Counting()
    counting.refused(Outcome.SHED, 0.1, ShedError(Reason.OVERLOADED))
    counting.refused(Outcome.CANCELLED, 0.1, None)
    timings = Timings(0.1, None, 0.0)
    counting.call_ended(call("x"), FAILED, timings, RequestError(Reason.MODEL_NOT_FOUND))
    counting.call_ended(call("x", attempt()), FAILED, timings, UpstreamError(Reason.UPSTREAM_ERROR))
    found = samples(page(counting))
    refused = {labels: value for (name, labels), value in found.items() if name == "llm_gateway_refused_total"}
    assert refused == {("OVERLOADED",): 1, ("MODEL_NOT_FOUND",): 1}
    assert found["llm_gateway_requests_total", (NONE, NONE, NONE, "cancelled")] == 1


def test_only_configured_names_are_labels() -> None:
    counting = Counting(["p"], catalogue("m"))
    counted(
        counting, call("m", attempt()), call("p/up-m", attempt()), call("p/free", attempt()), call("", attempt("?"))
    )
    found = samples(page(counting))
    requests = {labels[1:3]: value for (name, labels), value in found.items() if name == "llm_gateway_requests_total"}
    assert requests == {("m", "p"): 2, (OTHER, "p"): 1, (NONE, OTHER): 1}
    assert found["llm_gateway_folded_total", ("unknown",)] == 2


def test_hostile_names_make_no_series() -> None:
    counting = Counting(["p"], catalogue("m"))
    counted(counting, call("m", attempt()), call("hostile", attempt()))
    before = series_of(page(counting))
    counted(counting, *(call(f'hostile-{number}\n"}} 1\nfoo 2', attempt()) for number in range(5000)))
    text = page(counting)
    assert series_of(text) == before
    assert "hostile" not in text


def test_names_of_the_configuration_are_escaped() -> None:
    name = 'a"b\\c\nd{},='
    counting = Counting([name], catalogue(name))
    counted(counting, call(name, attempt(name)))
    assert samples(page(counting))["llm_gateway_input_tokens_total", (name, name)] == 3


def test_a_large_configuration_stays_within_the_bound_and_loses_no_count() -> None:
    names = [f"model-{number}" for number in range(3000)]
    providers = [f"provider-{number}" for number in range(60)]
    counting = Counting(providers, catalogue(*names))
    for number, name in enumerate(names):
        failed = attempt(providers[number % 60], FAILED, list(Reason)[number % 40])
        counted(counting, call(name, failed, attempt(providers[number % 59])), outcome=list(Outcome)[number % 4])
    text = page(counting)
    found = samples(text)
    assert series_of(text) <= MAX_SERIES
    assert found["llm_gateway_series", ()] == series_of(text)
    assert found["llm_gateway_folded_total", ("full",)] > 3000
    assert found["llm_gateway_folded_total", ("unknown",)] == 0
    assert total(found, "llm_gateway_requests_total") == 3000
    assert total(found, "llm_gateway_attempts_total") == 6000
    assert total(found, "llm_gateway_attempt_duration_ms_count") == 6000
    assert total(found, "llm_gateway_input_tokens_total") == 18_000
    by_outcome = [
        value for (name, labels), value in found.items() if name.endswith("requests_total") and OTHER in labels
    ]
    assert len(by_outcome) >= 4  # outcomes are still told apart


def total(found: Samples, name: str) -> float:
    return sum(value for (each, _), value in found.items() if each == name)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 30),
            st.integers(0, 40),
            st.sampled_from(Outcome),
            st.sampled_from([None, *Reason]),
            st.booleans(),
        ),
        max_size=300,
    )
)
def test_whatever_happens_the_bound_holds(
    ended: Iterable[tuple[int, int, Outcome, Reason | None, bool]],
) -> None:
    limit = 400
    counting = Counting(
        [f"p{number}" for number in range(30)], catalogue(*(f"m{number}" for number in range(40))), max_series=limit
    )
    count = 0
    for provider, model, outcome, reason, streaming in ended:
        record = attempt(f"p{provider}", outcome, reason)
        counted(counting, call(f"m{model}", record, streaming=streaming), outcome=outcome)
        count += 1
    text = page(counting)
    found = samples(text)
    assert series_of(text) <= limit
    for name in ("requests_total", "attempts_total", "request_duration_ms_count", "attempt_duration_ms_count"):
        assert total(found, f"llm_gateway_{name}") == count


def test_a_bound_that_leaves_no_room_is_refused() -> None:
    with pytest.raises(ValueError, match="too few"):
        Counting(max_series=100)


@pytest.mark.parametrize("readings", [{}, {**READINGS, metrics.REQUESTS: lambda: 1.0}])
def test_each_metric_has_one_source(readings: dict[Metric, Reading]) -> None:
    with pytest.raises(ValueError, match="one source"):
        Exposition(Counting(), "1", 0.0, readings)


def test_transitions_are_counted_by_the_state_that_they_lead_to() -> None:
    counting = Counting(["p"])
    for provider, state in (("p", "open"), ("p", "half_open"), ("p", "open"), ("unknown", "open")):
        counting.breaker_changed(provider, state)
    found = samples(page(counting))
    name = "llm_gateway_circuit_breaker_transitions_total"
    assert {labels: value for (each, labels), value in found.items() if each == name} == {
        ("p", "open"): 2,
        ("p", "half_open"): 1,
        (OTHER, "open"): 1,
    }


def test_a_level_is_what_was_read_last() -> None:
    counting = Counting()
    states: dict[Labels, int] = {("a",): 2, ("b",): 1}
    exposition = Exposition(counting, "1", 0.0, READINGS, {metrics.BREAKER_STATE: lambda: states})
    name = "llm_gateway_circuit_breaker_state"
    found = samples(exposition.text().decode())
    assert (found[name, ("a",)], found[name, ("b",)]) == (2, 1)
    assert exposition.readings()[f"{name}\0a"] == 2
    states = {("b",): 0}
    found = samples(exposition.text().decode())
    assert (found[name, ("a",)], found[name, ("b",)]) == (0, 0)
    assert counting.take() == {}
    with pytest.raises(TypeError):
        counting.became(metrics.REQUESTS, {})


def test_levels_stay_within_the_bound_and_the_worst_counts_for_the_others() -> None:
    counting = Counting(max_series=400)
    states: dict[Labels, int] = {(f"p{number}",): 2 * (number == 1000) for number in range(2000)}
    exposition = Exposition(counting, "1", 0.0, READINGS, {metrics.BREAKER_STATE: lambda: states})
    text = exposition.text().decode()
    assert series_of(text) <= 400
    assert samples(text)["llm_gateway_circuit_breaker_state", (OTHER,)] == 2


def test_a_retry_is_an_attempt_at_a_target_that_the_call_had_asked() -> None:
    counting = Counting(["p", "q"])
    failed = attempt(outcome=FAILED, reason=Reason.UPSTREAM_ERROR)
    shed = attempt(outcome=Outcome.SHED, reason=Reason.CIRCUIT_OPEN)
    counted(counting, call("m", failed, attempt("q")), call("m", shed, attempt()), call("m", attempt()))
    assert total(samples(page(counting)), "llm_gateway_retries_total") == 0
    counted(counting, call("m", failed, attempt("q"), failed), call("m", failed, failed, attempt()))
    assert samples(page(counting))["llm_gateway_retries_total", ("p",)] == 3


def test_a_retry_that_only_the_budget_forbade_is_counted() -> None:
    counting = Counting(["p"])
    failed = attempt(outcome=FAILED, reason=Reason.UPSTREAM_ERROR)
    for slots in ({"retrySuppressed": "true"}, {}):
        error = UpstreamError(Reason.UPSTREAM_ERROR, slots=slots)
        counting.call_ended(call("m", failed), FAILED, Timings(0.1, None, 0.0), error)
    assert samples(page(counting))["llm_gateway_retries_suppressed_total", ("p",)] == 1


def test_a_reset_of_the_statistics_leaves_the_counters() -> None:
    counting = Counting(["p"], catalogue("m"))
    statistics = Statistics(ManualClock(), counting)
    ended = call("m", attempt(outcome=FAILED))
    statistics.call_began(ended)
    statistics.call_ended(ended, FAILED, Timings(0.1, None, 0.0))
    statistics.cache_looked_up(hit=True)
    statistics.cache_looked_up(hit=False)
    before = statistics.over(Period.DAY)
    assert (before.calls.count, before.cache_hits, before.cache_misses) == (1, 1, 1)
    statistics.reset()
    after = statistics.over(Period.DAY)
    assert (after.calls.count, after.cache_hits, after.models, after.providers) == (0, 0, {}, {})
    assert statistics.consecutive_failures("p") == 0
    found = samples(page(counting))
    assert total(found, "llm_gateway_requests_total") == 1
    assert found["llm_gateway_cache_hits_total", ()] == found["llm_gateway_cache_misses_total", ()] == 1


def test_a_month_of_hostile_names_is_kept_in_bounds() -> None:
    clock = ManualClock()
    statistics = Statistics(clock)
    for hour in range(24 * 31):
        for number in range(150):
            name = "often" if number % 2 else f"rare-{hour}-{number}"
            statistics.call_ended(call(name, attempt()), SUCCEEDED, Timings(0.1, None, 0.0))
        clock.advance(3600)
    month, everything = statistics.over(Period.MONTH), statistics.over(Period.ALL)
    assert month.calls.count == pytest.approx(30 * 24 * 150, abs=150)
    assert everything.calls.count == 31 * 24 * 150
    assert everything.models["often"].count == 31 * 24 * 75
    assert sum(sums.count for sums in everything.models.values()) == everything.calls.count
    assert max(len(hour.models) for hour in statistics._hours) <= KEPT_MODELS
    assert len(everything.models) <= KEPT_MODELS
    assert len(statistics._hours) == 30 * 24


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.floats(60, 3 * 86_400), min_size=1, max_size=120),
    st.sampled_from([Period.DAY, Period.WEEK, Period.MONTH]),
)
def test_days_hold_the_sums_of_their_hours(pauses_s: list[float], period: Period) -> None:
    clock = ManualClock()
    statistics = Statistics(clock)
    for pause_s in pauses_s:
        statistics.call_ended(call("m", attempt()), SUCCEEDED, Timings(0.1, None, 0.0))
        clock.advance(pause_s)
    found = statistics.over(period)
    start_s = clock.wall_s() - period.value
    hours = [hour for hour in statistics._hours if hour.start_s + 3600 > start_s]
    assert found.calls.count == sum(hour.calls.count for hour in hours)
    assert found.providers.get("p", Tally()).count == found.models.get("m", Sums()).count == found.calls.count
    if hours:
        assert found.start_s == hours[0].start_s


def test_labels_are_open_or_words_of_the_program() -> None:
    closed = {label for metric in METRICS for label in metric.labels} - OPEN_LABELS
    assert closed == {"operation", "outcome", "streaming", "reason", "cause", "version", "state"}
