"""The figures of several workers: what is taken from them and added up is what one process would have counted."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmgateway_server.core.calls import AttemptRecord, Call, CallScope, Deadline, Outcome
from llmgateway_server.core.errors import RequestError
from llmgateway_server.core.events import Timings
from llmgateway_server.core.money import Cost
from llmgateway_server.core.reasons import Reason
from llmgateway_server.core.requests import CompleteRequest, Operation
from llmgateway_server.core.targets import Model, Target
from llmgateway_server.core.usage import Usage
from llmgateway_server.observe import metrics
from llmgateway_server.observe.counting import Counting
from llmgateway_server.observe.statistics import Period, Statistics
from llmgateway_server.testing.clock import ManualClock
from llmgateway_server.workers.messages import Report
from llmgateway_server.workers.totals import Totals

SUCCEEDED, FAILED = Outcome.SUCCEEDED, Outcome.FAILED
MODELS = [Model("m", (Target("p", "v", "up"),))]


def counter(clock: ManualClock) -> Statistics:
    return Statistics(clock, Counting(["p"], MODELS))


def count(statistics: Statistics, outcome: Outcome, latency_s: float = 0.25) -> None:
    scope = CallScope("id", "/s/m", "127.0.0.1", {}, 0.0, Deadline(1.0, from_client=False))
    record = AttemptRecord(
        1, Target("p", "v", "up"), outcome, usage=Usage(3, 5), cost=Cost(7, output_nano_usd=11), latency_s=latency_s
    )
    call = Call(scope, Operation.COMPLETE, True, CompleteRequest("m", []), model="m", attempts=[record])
    statistics.call_began(call)
    statistics.call_ended(call, outcome, Timings(latency_s, latency_s / 2, latency_s / 4), None)


def report(statistics: Statistics, **readings: float) -> Report:
    """Returns a report as it arrives: encoded and decoded."""
    made = Report(statistics.take(), {f"llm_gateway_{name}": value for name, value in readings.items()}, asked=False)
    decoded = msgspec.msgpack.decode(msgspec.msgpack.encode(made), type=Report)
    assert decoded == made
    return decoded


def samples(totals: Totals) -> dict[str, float]:
    lines = totals.page().decode().splitlines()
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")}


def counted(statistics: Statistics, counting: Counting) -> list[str]:
    return sorted(line for family in counting.families.values() for line in family.lines())


@given(
    st.lists(
        st.tuples(
            st.sampled_from([0, 1, 2, None]),
            st.sampled_from([SUCCEEDED, FAILED, Outcome.SHED, Outcome.CANCELLED]),
            st.sampled_from([0.0, 0.125, 0.5, 2.0, 1024.0]),
        ),
        max_size=40,
    )
)
def test_the_parent_has_what_one_process_would_have(steps: list[tuple[int | None, Outcome, float]]) -> None:
    clock = ManualClock()
    totals, workers = Totals(clock), [counter(clock) for _ in range(3)]
    counting = Counting(["p"], MODELS)
    alone = Statistics(clock, counting)
    for worker, outcome, latency_s in steps:
        if worker is None:
            for number, each in enumerate(workers):
                totals.absorb(number, report(each))
            clock.advance(40.0)
            continue
        count(workers[worker], outcome, latency_s)
        count(alone, outcome, latency_s)
    for number, each in enumerate(workers):
        totals.absorb(number, report(each))
    assert sorted(line for family in totals.counting.families.values() for line in family.lines()) == sorted(
        line for family in counting.families.values() for line in family.lines()
    )
    mine, whole = totals.over(Period.ALL).figures, alone.over(Period.ALL)
    assert (mine.calls, mine.providers, mine.models) == (whole.calls, whole.providers, whole.models)
    assert all(not each.take().changes for each in workers)


def test_counters_do_not_fall_when_a_worker_is_gone_and_gauges_do() -> None:
    clock = ManualClock()
    totals = Totals(clock)
    first, second = counter(clock), counter(clock)
    count(first, SUCCEEDED)
    count(second, FAILED)
    totals.absorb(1, report(first, in_flight_calls=2, open_streams=1, loop_lag_seconds=0.3, records_dropped_total=5))
    totals.absorb(2, report(second, in_flight_calls=3, open_streams=2, loop_lag_seconds=0.1, records_dropped_total=1))
    before = samples(totals)
    totals.forget(1)
    after = samples(totals)
    assert (before["llm_gateway_in_flight_calls"], after["llm_gateway_in_flight_calls"]) == (5, 3)
    assert (before["llm_gateway_open_streams"], after["llm_gateway_open_streams"]) == (3, 2)
    assert (before["llm_gateway_loop_lag_seconds"], after["llm_gateway_loop_lag_seconds"]) == (0.3, 0.1)
    assert before["llm_gateway_records_dropped_total"] == after["llm_gateway_records_dropped_total"] == 6
    grown = [name for name in before if "_total" in name or "_bucket" in name or "_sum" in name or "_count" in name]
    assert len(grown) > 30
    assert all(after[name] >= before[name] for name in grown)
    assert totals.recent().in_flight == 3
    totals.forget(2)
    totals.forget(3)  # one that never reported
    assert samples(totals)["llm_gateway_records_dropped_total"] == 6


def test_every_value_that_is_read_has_a_way_to_become_one() -> None:
    totals = Totals(ManualClock())
    page = totals.page().decode()
    for metric in metrics.METRICS:
        assert f"# TYPE {metric.name} {metric.kind}\n" in page
        assert metric.kind is metrics.Kind.GAUGE or metric.across is metrics.Across.SUM


def test_states_of_workers_are_on_the_page() -> None:
    totals = Totals(ManualClock())
    totals.counting.worker_became("starting", "")
    totals.counting.worker_became("starting", "")
    totals.counting.worker_became("serving", "starting")
    totals.counting.worker_restarted()
    found = samples(totals)
    assert found['llm_gateway_workers{state="starting"}'] == found['llm_gateway_workers{state="serving"}'] == 1
    assert found["llm_gateway_worker_restarts_total"] == 1


@pytest.mark.parametrize(
    ("outcomes", "failures"),
    [
        ([[FAILED], [FAILED, FAILED]], 3),
        ([[FAILED, FAILED], [SUCCEEDED, FAILED]], 1),
        ([[FAILED], [SUCCEEDED]], 0),
        ([[SUCCEEDED], [Outcome.CANCELLED], [FAILED]], 1),
    ],
)
def test_failures_in_a_row_are_counted_over_workers(outcomes: list[list[Outcome]], failures: int) -> None:
    clock = ManualClock()
    totals = Totals(clock)
    for number, of_one in enumerate(outcomes):
        worker = counter(clock)
        for each in of_one:
            count(worker, each)
        totals.absorb(number, report(worker))
    assert totals.recent().consecutive_failures.get("p", 0) == failures


def test_a_reset_forgets_figures_and_keeps_counters() -> None:
    clock = ManualClock()
    totals, worker = Totals(clock), counter(clock)
    count(worker, SUCCEEDED)
    worker.refused(FAILED, 0.1, RequestError(Reason.INVALID_REQUEST))
    totals.absorb(1, report(worker))
    clock.advance(100.0)
    totals.reset()
    view = totals.over(Period.ALL)
    assert (view.figures.calls.count, view.uptime_s) == (0, 100.0)
    assert samples(totals)['llm_gateway_refused_total{reason="INVALID_REQUEST"}'] == 1
