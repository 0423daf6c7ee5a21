"""Rows with several targets: what fails at one is answered by another, and what is the request's fault by none.

Rows in which a stream breaks after its first token are in `test_midstream_rows.py`.
"""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from llmgateway.v1 import reply_pb2
from llmgateway_server.providers.wire.http1 import Http1Wire
from llmgateway_server.providers.wire.port import Origin, WireLimits
from llmgateway_server.routing.cooldown import DEFAULT_S
from llmgateway_server.testing.clock import ManualClock
from llmgateway_server.testing.upstream import Script, stream
from tests.contract.raw_server import Peer, RawServer
from tests.faults.faulty import AT_ONCE, BLEMISHES, FIRST_TOKEN_S, TIMED, Fault, rows
from tests.faults.kit import BUSY
from tests.faults.provider_answers import Answered, problem, refusal
from tests.faults.provider_kit import BOTH, OWN_WORK_S, UNAVAILABLE
from tests.faults.targets_kit import HELLO, several, told_way_of, use, way_of
from tests.faults.test_provider_connect import FAILURES, NAME, ScriptedResolver, closed_port, named

INVALID_ARGUMENT, EXHAUSTED = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED
SHORT: dict[str, Any] = {"timeouts": {"first_token_s": FIRST_TOKEN_S}, "deadlines": {"unary_default_s": 3.0}}
"""Clocks for those who say nothing: a whole reply may take half of what its call has left."""


def assert_answered_by_the_second(ended: Answered, reason: str, status: int | None) -> None:
    """Holds that the caller has the second target's answer, whole and once, and is told what became of the first."""
    assert (ended.code, ended.text) == (grpc.StatusCode.OK, "hello")
    assert way_of(ended) == [("one", reason, "C0"), ("two", None, "CU")]
    assert [each["http_status"] for each in ended.attempts] == [status, 200]
    assert told_way_of(ended) == [("one", "failed", False), ("two", "succeeded", True)]
    assert ended.summary.attempts[0].cost.nano_usd == 0
    assert [ended.record[name] for name in ("outcome", "reason", "attempts")] == ["succeeded", None, 2]
    assert not any(each.HasField("target_switched") for each in ended.events)
    assert [each.seq for each in ended.events] == list(range(1, len(ended.events) + 1))


# --- a fault of the first target, an answer of the second --------------------------------------------------------


@rows(AT_ONCE)
@BOTH
async def test_another_target_answers(streaming: bool, fault: Fault) -> None:
    async with several(fault.script, HELLO) as it:
        ended = await it.call(streaming=streaming)
        assert it.asked() == {"one": 1, "two": 1}
        assert (it.verdict("one"), it.verdict("two")) == (fault.verdict, "success")
    assert_answered_by_the_second(ended, fault.reason, fault.status)


@rows(TIMED)
@BOTH
async def test_another_target_answers_in_the_time_that_is_left(streaming: bool, fault: Fault) -> None:
    async with several(fault.script, HELLO, **SHORT) as it:
        ended = await it.call(streaming=streaming)
        assert it.verdict("one") == "failure"
        await it.upstreams["one"].requests[0].gone.wait()
    assert_answered_by_the_second(ended, "UPSTREAM_TIMEOUT", ended.attempts[0]["http_status"])


@BOTH
async def test_p1_another_target_answers_where_the_connection_is_refused(streaming: bool) -> None:
    async with several(f"http://127.0.0.1:{closed_port()}/v1", HELLO) as it:
        ended = await it.call(streaming=streaming)
        assert it.verdict("one") == "failure"
        again = [await it.call(streaming=streaming) for _ in range(3)]
    assert_answered_by_the_second(ended, "UPSTREAM_UNREACHABLE", None)
    # without a delay: the first call of a process imports and compiles, so the best of those after it counts
    assert min(each.record["duration_ms"] for each in again) <= OWN_WORK_S * 1000 * BUSY


@pytest.mark.parametrize("failure", list(FAILURES))
@BOTH
async def test_p2_another_target_answers_where_the_name_does_not_resolve(streaming: bool, failure: str) -> None:
    resolver = ScriptedResolver(0)
    resolver.says = FAILURES[failure]
    async with several("http://provider.test/v1", HELLO) as it:
        use(it, "one", named(resolver))
        ended = await it.call(streaming=streaming)
        assert it.verdict("one") == "failure"
    assert NAME.host == "provider.test"
    assert_answered_by_the_second(ended, "UPSTREAM_UNREACHABLE", None)


@BOTH
async def test_p3_another_target_answers_where_tls_cannot_be_trusted(streaming: bool) -> None:
    async def behave(peer: Peer) -> None:
        await peer.reader.read(65536)
        await peer.send(b"HTTP/1.1 400 no\r\n\r\n")

    async with RawServer(behave) as server, several(f"https://127.0.0.1:{server.port}/v1", HELLO) as it:
        ended = await it.call(streaming=streaming)
        assert it.verdict("one") == "failure"
        assert server.accepted == 1
    assert_answered_by_the_second(ended, "UPSTREAM_TLS", None)


@BOTH
async def test_p4_another_target_answers_where_connecting_hangs(streaming: bool) -> None:
    async with RawServer(Peer.gone) as server, several(f"https://127.0.0.1:{server.port}/v1", HELLO) as it:
        origin = Origin("https", "127.0.0.1", server.port)
        use(it, "one", Http1Wire(origin, limits=WireLimits(connect_timeout_s=0.2)))
        ended = await it.call(streaming=streaming)
        assert it.verdict("one") == "failure"
    assert_answered_by_the_second(ended, "UPSTREAM_UNREACHABLE", None)


@rows(AT_ONCE, lambda fault: fault.row in {"P7", "P9", "P16", "P19", "P24", "P25", "P27"})
@BOTH
async def test_the_third_target_answers_where_two_fail(streaming: bool, fault: Fault) -> None:
    other = refusal(503) if fault.status != 503 else refusal(502)
    async with several(fault.script, other, HELLO) as it:
        ended = await it.call(streaming=streaming)
        assert it.asked() == {"one": 1, "two": 1, "three": 1}
    assert ended.text == "hello"
    assert [each[:1] + each[2:] for each in way_of(ended)] == [("one", "C0"), ("two", "C0"), ("three", "CU")]


# --- the same target again, where there is no other --------------------------------------------------------------

AGAIN = {"P7", "P8", "P9", "P10", "P11", "P14", "P19", "P24", "P25", "P27", "P32"}


@rows(AT_ONCE, lambda fault: fault.row in AGAIN)
@BOTH
async def test_the_only_target_is_asked_again(streaming: bool, fault: Fault) -> None:
    async with several(HELLO) as it:
        it.upstreams["one"].then(fault.script)
        ended = await it.call(streaming=streaming)
        assert it.asked() == {"one": 2}
    assert ended.text == "hello"
    assert way_of(ended) == [("one", fault.reason, "C0"), ("one", None, "CU")]


@rows(AT_ONCE, lambda fault: fault.row not in AGAIN | {"P12", "P13", "P23"})
@BOTH
async def test_the_only_target_is_not_asked_again(streaming: bool, fault: Fault) -> None:
    async with several(HELLO) as it:
        it.upstreams["one"].then(fault.script)
        ended = await it.call(streaming=streaming)
        assert it.asked() == {"one": 1}
    assert way_of(ended) == [("one", fault.reason, "C0")]


@BOTH
async def test_p1_the_only_target_is_asked_once_more(streaming: bool) -> None:
    async with several(f"http://127.0.0.1:{closed_port()}/v1") as it:
        ended = await it.call(streaming=streaming)
    assert ended.code is UNAVAILABLE
    assert way_of(ended) == [("one", "UPSTREAM_UNREACHABLE", "C0")] * 2


@BOTH
async def test_p9_malformed_answers_are_asked_for_once_more(streaming: bool) -> None:
    fault = next(each for each in AT_ONCE if each.row == "P9")
    async with several(fault.script) as it:
        ended = await it.call(streaming=streaming)
    assert ended.code is UNAVAILABLE
    assert way_of(ended) == [("one", "UPSTREAM_MALFORMED", "C0")] * 2


@rows(AT_ONCE, lambda fault: fault.row == "P25" and fault.status in {503, 504, 529})
@BOTH
async def test_p25_a_call_has_three_attempts_at_most(streaming: bool, fault: Fault) -> None:
    async with several(fault.script, fault.script) as it:
        ended = await it.call(streaming=streaming)
        asked = it.asked()
    assert ended.code is UNAVAILABLE
    assert sum(asked.values()) == 3
    assert min(asked.values()) == 1
    assert [each[1:] for each in way_of(ended)] == [(fault.reason, "C0")] * 3


# --- the request is at fault: no other target is asked -----------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        pytest.param(400, "UPSTREAM_REJECTED_REQUEST", id="p15"),
        pytest.param(413, "REQUEST_TOO_LARGE", id="p21"),
        pytest.param(422, "UPSTREAM_REJECTED_REQUEST", id="p22"),
    ],
)
@BOTH
async def test_what_the_request_causes_is_told_by_the_first(streaming: bool, status: int, reason: str) -> None:
    async with several(refusal(status), HELLO) as it:
        ended = await it.call(streaming=streaming)
        assert it.asked() == {"one": 1, "two": 0}
        assert it.verdict("one") == "success"
    assert ended.code is INVALID_ARGUMENT
    assert way_of(ended) == [("one", reason, "C0")]


TOO_LONG = refusal(400, problem(code="context_length_exceeded"))


@pytest.mark.parametrize(
    ("models", "asked", "reason"),
    [
        pytest.param(["gpt-4", "gpt-4o"], {"one": 1, "two": 1}, None, id="p15-larger"),
        pytest.param(["gpt-4o", "gpt-4"], {"one": 1, "two": 0}, "CONTEXT_LENGTH_EXCEEDED", id="p15-smaller"),
        pytest.param(["gpt-4o", "gpt-4o"], {"one": 1, "two": 0}, "CONTEXT_LENGTH_EXCEEDED", id="p15-equal"),
    ],
)
@BOTH
async def test_p15_only_a_larger_context_may_serve_what_is_too_long(
    streaming: bool, models: list[str], asked: dict[str, int], reason: str | None
) -> None:
    async with several(TOO_LONG, HELLO, models=models, vendor="openai") as it:
        ended = await it.call(streaming=streaming)
        assert it.asked() == asked
        assert it.verdict("one") == "success"
    assert ended.record["reason"] == reason


@BOTH
async def test_p20_a_conflict_is_asked_once_more_and_nowhere_else(streaming: bool) -> None:
    async with several(HELLO, HELLO) as it:
        it.upstreams["one"].then(refusal(409))
        over = await it.call(streaming=streaming)
        it.upstreams["one"].then(refusal(409), refusal(409))
        stays = await it.call(streaming=streaming)
        assert it.asked() == {"one": 4, "two": 0}
        assert it.breakers()["one"].failures == 0
    assert way_of(over) == [("one", "UPSTREAM_CONFLICT", "C0"), ("one", None, "CU")]
    assert stays.code is grpc.StatusCode.ABORTED
    assert way_of(stays) == [("one", "UPSTREAM_CONFLICT", "C0")] * 2


@pytest.mark.parametrize("script", [pytest.param(script, id=row) for row, script in BLEMISHES.items()])
@BOTH
async def test_an_answer_with_a_blemish_is_an_answer(streaming: bool, script: Script) -> None:
    async with several(script, refusal(500)) as it:
        ended = await it.call(streaming=streaming)
        assert it.asked() == {"one": 1, "two": 0}
        assert it.verdict("one") == "success"
    assert ended.text in ("hello", "")
    assert [each["outcome"] for each in ended.attempts] == ["succeeded"]


async def test_p29_a_stream_without_end_is_cut_off_and_asked_for_nowhere_else() -> None:
    async with several(stream(*["x" * 1000] * 100), HELLO) as it:
        ended = await it.call(streaming=True, max_output_tokens=100)
        assert it.asked() == {"one": 1, "two": 0}
        assert it.verdict("one") == "success"
    assert ended.summary.finish_reason == reply_pb2.FINISH_REASON_LENGTH
    assert [each["charge"] for each in ended.attempts] == ["CP"]


# --- keys, rate limits -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        pytest.param(401, "PROVIDER_AUTH_FAILED", id="p16"),
        pytest.param(402, "PROVIDER_QUOTA_EXHAUSTED", id="p17"),
    ],
)
@BOTH
async def test_another_key_goes_before_another_target(streaming: bool, status: int, reason: str) -> None:
    async with several(refusal(status), HELLO, keys={"one": 2}) as it:
        ended = await it.call(streaming=streaming)
        assert it.breakers()["one"].calls == 0
    assert ended.text == "hello"
    assert [each["key_id"] for each in ended.attempts] == ["key-1", "key-2", "key-1"]
    assert way_of(ended) == [("one", reason, "C0"), ("one", reason, "C0"), ("two", None, "CU")]


@BOTH
async def test_p16_bad_keys_do_not_use_up_the_attempts_of_a_call(streaming: bool) -> None:
    async with several(refusal(401), HELLO, keys={"one": 2}, max_attempts=2) as it:
        ended = await it.call(streaming=streaming)
    assert ended.text == "hello"
    assert way_of(ended) == [("one", "PROVIDER_AUTH_FAILED", "C0"), ("two", None, "CU")]


@BOTH
async def test_p23_a_limited_target_is_asked_last_until_its_pause_is_over(streaming: bool) -> None:
    clock = ManualClock()
    async with several(refusal(429, retry_after="30"), HELLO, clock=clock) as it:
        ways = [[each[0] for each in way_of(await it.call(streaming=streaming))]]
        for passed_s in (0.0, 29.0, 2.0):
            clock.advance(passed_s)
            ways.append([each[0] for each in way_of(await it.call(streaming=streaming))])
    assert ways == [["one", "two"], ["two"], ["two"], ["one", "two"]]


@BOTH
async def test_p24_a_limited_target_that_names_no_pause_is_asked_last_for_a_while(streaming: bool) -> None:
    clock = ManualClock()
    async with several(refusal(429), HELLO, clock=clock) as it:
        ways = []
        for passed_s in (0.0, DEFAULT_S - 1.0, 1.5):
            clock.advance(passed_s)
            ways.append([each[0] for each in way_of(await it.call(streaming=streaming))])
    assert ways == [["one", "two"], ["two"], ["one", "two"]]


@BOTH
async def test_p23_where_all_are_limited_the_caller_is_told_the_smallest_pause(streaming: bool) -> None:
    async with several(refusal(429, retry_after="30"), refusal(429, retry_after="20"), clock=ManualClock()) as it:
        ended = await it.call(streaming=streaming)
        assert it.asked() == {"one": 1, "two": 1}
        assert {view.calls for view in it.breakers().values()} == {0}
    assert (ended.code, ended.record["reason"]) == (EXHAUSTED, "UPSTREAM_RATE_LIMITED")
    assert ended.retry_after_s == 20.0


@BOTH
async def test_p23_a_short_pause_is_waited_for(streaming: bool) -> None:
    async with several(HELLO) as it:
        it.upstreams["one"].then(refusal(429, retry_after="0.3"))
        ended = await it.call(streaming=streaming)
        first, second = it.upstreams["one"].requests
    assert ended.text == "hello"
    assert second.at_s - first.at_s >= 0.29


# --- P26, P33 ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [500, 502])
@BOTH
async def test_p26_a_request_that_breaks_its_readers_is_asked_of_two(streaming: bool, status: int) -> None:
    async with several(refusal(status), refusal(status), HELLO) as it:
        ended = await it.call(streaming=streaming)
        assert it.asked() == {"one": 1, "two": 1, "three": 0}
        assert sum(view.failures for view in it.breakers().values()) == 1
    assert (ended.code, ended.record["reason"]) == (UNAVAILABLE, "UPSTREAM_ERROR")
    assert way_of(ended) == [("one", "UPSTREAM_ERROR", "C0"), ("two", "UPSTREAM_ERROR", "C0")]


@BOTH
async def test_p26_a_request_that_breaks_two_keys_of_one_account_is_not_asked_with_a_third(streaming: bool) -> None:
    async with several(refusal(500), keys={"one": 2}) as it:
        ended = await it.call(streaming=streaming)
        assert it.breakers()["one"].failures == 1
    assert [each["key_id"] for each in ended.attempts] == ["key-1", "key-2"]
    assert way_of(ended) == [("one", "UPSTREAM_ERROR", "C0")] * 2


@BOTH
async def test_p26_a_request_that_breaks_one_key_is_no_poison(streaming: bool) -> None:
    """The same key at the same target again shows nothing: the target may be down."""
    async with several(refusal(500)) as it:
        ended = await it.call(streaming=streaming)
    assert way_of(ended) == [("one", "UPSTREAM_ERROR", "C0")] * 3


@BOTH
async def test_p26_different_failures_are_no_poison(streaming: bool) -> None:
    async with several(refusal(500), refusal(502), HELLO) as it:
        ended = await it.call(streaming=streaming)
    assert ended.text == "hello"


@BOTH
async def test_p33_all_open(streaming: bool) -> None:
    async with several(refusal(503), refusal(503), breakers={"consecutive_failures": 1}) as it:
        await it.call(streaming=streaming)
        before = it.asked()
        all_ended = [await it.call(streaming=streaming) for _ in range(10)]
        assert it.asked() == before
    for ended in all_ended:
        assert (ended.code, ended.record["reason"], ended.attempts) == (UNAVAILABLE, "CIRCUIT_OPEN", [])
        assert ended.retry_after_s is not None
        assert 0 < ended.retry_after_s <= 33.0
    assert min(each.record["duration_ms"] for each in all_ended) <= 5.0


@BOTH
async def test_p33_an_open_target_is_left_out_while_another_works(streaming: bool) -> None:
    async with several(refusal(503), HELLO, breakers={"consecutive_failures": 1}) as it:
        ways = [[each[0] for each in way_of(await it.call(streaming=streaming))] for _ in range(3)]
        assert it.asked() == {"one": 1, "two": 3}
    assert ways == [["one", "two"], ["two"], ["two"]]
