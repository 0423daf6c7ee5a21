"""Rows with several targets while 200 calls a second come, unary and streams by turns: no call is lost in the crowd."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import grpc.aio
import pytest

from llmgateway.fold import fold
from llmgateway_server.attempts.breaker import State
from llmgateway_server.providers.wire.http1 import Http1Wire
from llmgateway_server.providers.wire.port import Origin, WireLimits
from llmgateway_server.testing.upstream import STREAM_HEAD, Script, Step, delta, event, hang
from tests.contract.raw_server import Peer, RawServer
from tests.faults.faulty import AT_ONCE, BLEMISHES, FIRST_TOKEN_S, TIMED, Fault, for_ever, rows
from tests.faults.kit import ask, reason_of, until
from tests.faults.load_kit import CALLS_PER_S, offered
from tests.faults.provider_answers import refusal
from tests.faults.provider_kit import by_kind, said
from tests.faults.targets_kit import HELLO, PUBLIC, Several, several, use
from tests.faults.test_provider_connect import FAILURES, ScriptedResolver, closed_port, named

pytestmark = pytest.mark.slow

FOR_S = 1.0
CALLS = int(CALLS_PER_S * FOR_S)
CLOCKS: dict[str, Any] = {"timeouts": {"first_token_s": FIRST_TOKEN_S}, "deadlines": {"unary_default_s": 6.0}}
"""For faults that only a clock ends."""
LATE = CALLS // 50
"""Healthy answers that may meet that clock, too, on a busy machine."""


async def end_of(it: Several, number: int, timeout: float | None = None, **options: Any) -> str:
    """Makes a call and returns the text of its answer, or the reason why there is none."""
    stub, request = it.keyed.gateway.stub, ask(model=PUBLIC, **options)
    try:
        if number % 2:
            reply = await stub.Complete(request, timeout=timeout)
        else:
            messages = stub.StreamComplete(request, timeout=timeout)
            reply = fold([each async for message in messages for each in message.events])
    except grpc.aio.AioRpcError as error:
        return reason_of(error) or error.code().name
    return "".join(part.text for part in reply.parts)


async def ends_of(it: Several, **options: Any) -> Counter[str]:
    ended = Counter(await offered(lambda number: end_of(it, number, **options), FOR_S))
    await until(lambda: it.keyed.gateway.app.parts.gate.in_flight == 0)
    assert {view.in_flight for view in it.breakers().values()} <= {0}
    return ended


@rows([*AT_ONCE, *TIMED])
async def test_another_target_answers_everybody(fault: Fault) -> None:
    async with several(fault.script, HELLO, **(CLOCKS if fault in TIMED else {})) as it:
        ended = await ends_of(it)
        assert ended["hello"] >= CALLS - (LATE if fault in TIMED else 0)
        assert set(ended) <= {"hello", "UPSTREAM_TIMEOUT"}
        if fault.verdict == "failure":
            assert it.breakers()["one"].state is State.OPEN
            assert it.asked()["one"] < CALLS
        else:
            assert it.breakers()["one"].state is State.CLOSED


async def test_p1_another_target_answers_everybody_where_connections_are_refused() -> None:
    async with several(f"http://127.0.0.1:{closed_port()}/v1", HELLO) as it:
        assert await ends_of(it) == {"hello": CALLS}
        assert it.breakers()["one"].state is State.OPEN


async def test_p2_another_target_answers_everybody_where_the_name_does_not_resolve() -> None:
    resolver = ScriptedResolver(0)
    resolver.says = FAILURES["no such name"]
    async with several("http://provider.test/v1", HELLO) as it:
        use(it, "one", named(resolver))
        assert await ends_of(it) == {"hello": CALLS}
        assert it.breakers()["one"].state is State.OPEN
    assert 0 < len(resolver.questions) < CALLS


async def test_p3_another_target_answers_everybody_where_tls_cannot_be_trusted() -> None:
    async def plain(peer: Peer) -> None:
        await peer.reader.read(65536)
        await peer.send(b"HTTP/1.1 400 no\r\n\r\n")

    async with RawServer(plain) as server, several(f"https://127.0.0.1:{server.port}/v1", HELLO) as it:
        assert await ends_of(it) == {"hello": CALLS}
        assert it.breakers()["one"].state is State.OPEN
        assert 0 < server.accepted < CALLS


async def test_p4_another_target_answers_everybody_where_connecting_hangs() -> None:
    async with RawServer(Peer.gone) as server, several(f"https://127.0.0.1:{server.port}/v1", HELLO) as it:
        origin = Origin("https", "127.0.0.1", server.port)
        use(it, "one", Http1Wire(origin, limits=WireLimits(connect_timeout_s=0.2)))
        assert await ends_of(it) == {"hello": CALLS}
        assert it.breakers()["one"].state is State.OPEN


@pytest.mark.parametrize("script", [pytest.param(script, id=row) for row, script in BLEMISHES.items()])
async def test_an_answer_with_a_blemish_is_an_answer_to_everybody(script: Script) -> None:
    async with several(script, refusal(500)) as it:
        ended = await ends_of(it)
        assert ended.total() == CALLS
        assert set(ended) <= {"hello", ""}
        assert it.asked() == {"one": CALLS, "two": 0}
        assert it.breakers()["one"].state is State.CLOSED


async def test_p29_streams_without_end_are_cut_off_for_everybody() -> None:
    endless: list[Step] = [STREAM_HEAD, for_ever(event(delta("x" * 1000)))]
    async with several(by_kind(endless, HELLO), refusal(500)) as it:
        ended = await ends_of(it, max_output_tokens=100)
        assert ended["hello"] == CALLS // 2
        assert {text.strip("x") for text in ended} == {"", "hello"}
        assert it.asked() == {"one": CALLS, "two": 0}
        assert it.breakers()["one"].state is State.CLOSED
        for received in it.upstreams["one"].requests:
            if received.body.get("stream"):  # the others' connections are kept
                await received.gone.wait()


@pytest.mark.parametrize(
    ("script", "end", "most"),
    [
        pytest.param(refusal(400), "UPSTREAM_REJECTED_REQUEST", CALLS, id="p15"),
        pytest.param(refusal(409), "UPSTREAM_CONFLICT", 2 * CALLS, id="p20"),
        pytest.param(refusal(413), "REQUEST_TOO_LARGE", CALLS, id="p21"),
        pytest.param(refusal(422), "UPSTREAM_REJECTED_REQUEST", CALLS, id="p22"),
    ],
)
async def test_what_the_request_causes_is_told_everybody_by_the_first(script: Script, end: str, most: int) -> None:
    async with several(script, HELLO) as it:
        assert await ends_of(it) == {end: CALLS}
        assert it.asked()["two"] == 0
        assert CALLS <= it.asked()["one"] <= most
        assert it.breakers()["one"].state is State.CLOSED


async def test_p20_conflicts_are_asked_again_as_far_as_the_budget_goes() -> None:
    """5 · retries ≤ 100 + clean successes, of which there are none."""
    async with several(refusal(409), HELLO) as it:
        await ends_of(it)
        assert it.asked()["one"] <= CALLS + 20


async def test_p26_poison_reaches_no_third_target_until_two_are_known_to_be_down() -> None:
    async with several(refusal(500), refusal(500), HELLO) as it:
        ended = await ends_of(it)
        assert set(ended) <= {"hello", "UPSTREAM_ERROR"}
        assert it.breakers()["three"].state is State.CLOSED


async def test_p33_all_open_is_told_at_once_and_asks_nobody() -> None:
    async with several(refusal(503), refusal(503), breakers={"consecutive_failures": 1}) as it:
        await end_of(it, 1)
        before = it.asked()
        assert await ends_of(it) == {"CIRCUIT_OPEN": CALLS}
        assert it.asked() == before


# --- callers who end it themselves -------------------------------------------------------------------------------


async def all_gone(it: Several) -> None:
    """Waits until every exchange with a provider is closed, and holds that nobody was asked in a caller's stead."""
    for upstream in it.upstreams.values():
        for received in upstream.requests:
            await received.gone.wait()
    assert it.asked()["two"] == 0
    assert it.breakers()["one"].failures == 0


async def test_c1_cancels_before_the_first_token() -> None:
    async with several(hang, HELLO) as it:

        async def leaves(number: int) -> None:
            stub = it.keyed.gateway.stub
            call = (stub.Complete if number % 2 else stub.StreamComplete)(ask(model=PUBLIC))
            await asyncio.sleep(0.05)
            call.cancel()

        await offered(leaves, FOR_S)
        await until(lambda: it.keyed.gateway.app.parts.gate.in_flight == 0)
        await all_gone(it)
        attempts = [each for each in it.keyed.gateway.records() if each["record"] == "attempt"]
    assert {(each["outcome"], each["charge"]) for each in attempts} <= {("cancelled", "CI"), ("cancelled", "C0")}


async def test_c2_cancels_in_the_middle() -> None:
    async with several([*said("some text"), hang], HELLO) as it:

        async def leaves(_number: int) -> None:
            call = it.keyed.gateway.stub.StreamComplete(ask(model=PUBLIC))
            await call.read()
            call.cancel()

        await offered(leaves, FOR_S)
        await until(lambda: it.keyed.gateway.app.parts.gate.in_flight == 0)
        await all_gone(it)
        attempts = [each for each in it.keyed.gateway.records() if each["record"] == "attempt"]
    assert Counter(each["charge"] for each in attempts) == {"CP": CALLS}


async def test_c3_deadlines_shorter_than_the_provider() -> None:
    async with several(hang, HELLO) as it:
        assert await ends_of(it, timeout=0.4) == {"DEADLINE_EXCEEDED": CALLS}
        await all_gone(it)


async def test_c4_too_little_time_reaches_no_provider() -> None:
    async with several(HELLO, HELLO, deadlines={"min_s": 5.0}) as it:
        assert await ends_of(it, timeout=3.0) == {"DEADLINE_EXCEEDED": CALLS}
        assert it.asked() == {"one": 0, "two": 0}
