"""Tokens that are renewed: when they are asked for, by whom, and what calls get meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import structlog

from llmgateway_server.core.errors import UpstreamError
from llmgateway_server.core.reasons import Reason
from llmgateway_server.core.secret import Secret
from llmgateway_server.providers.credentials import source as module
from llmgateway_server.providers.credentials.source import (
    FIRST_PAUSE_S,
    LONGEST_LIFE_S,
    LONGEST_PAUSE_S,
    REFUSED_AFTER_S,
    RENEW_BEFORE_S,
    Renewed,
    Token,
)
from llmgateway_server.testing.clock import ManualClock

HOUR_S = 3600.0


class ScriptedIssuer:
    """Gives `token-1`, `token-2`, ..., or fails as it is told to; may be held up."""

    def __init__(self) -> None:
        self.lifetime_s = HOUR_S
        self.failure: Exception | None = None
        self.open = asyncio.Event()
        self.open.set()
        self.asked = 0
        self.closed = False

    async def issue(self) -> Token:
        self.asked += 1
        number = self.asked
        await self.open.wait()
        if self.failure is not None:
            raise self.failure
        return Token(Secret(f"token-{number}"), self.lifetime_s)

    async def aclose(self) -> None:
        self.closed = True


class World:
    """A source with its issuer and its time."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.issuer = ScriptedIssuer()
        self.source = Renewed(self.issuer, self.clock, provider="p", key_id="key-1")

    async def wait(self, seconds: float = 0.0) -> None:
        self.clock.advance(seconds)
        for _ in range(5):
            await asyncio.sleep(0)

    def now(self) -> str | None:
        secret = self.source.current()
        return secret.reveal() if secret is not None else None

    async def failed(self) -> UpstreamError:
        with pytest.raises(UpstreamError) as caught:
            await self.source.fetched()
        return caught.value


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World()
    yield made
    await made.source.aclose()
    assert made.issuer.closed
    await asyncio.sleep(0)
    assert [task for task in asyncio.all_tasks() if task.get_name() == "credentials"] == []


async def test_however_many_calls_need_the_first_token_it_is_asked_for_once(world: World) -> None:
    found = await asyncio.gather(*(world.source.fetched() for _ in range(50)))
    assert {secret.reveal() for secret in found} == {"token-1"}
    assert world.issuer.asked == 1


async def test_a_warm_source_lets_nobody_wait(world: World) -> None:
    world.source.warm_up()
    world.source.warm_up()
    await world.wait()
    assert (world.now(), world.issuer.asked) == ("token-1", 1)


async def test_it_is_renewed_before_its_end_while_calls_go_on_with_the_old_one(world: World) -> None:
    await world.source.fetched()
    await world.wait(HOUR_S - RENEW_BEFORE_S - 1)
    assert (world.now(), world.issuer.asked) == ("token-1", 1)
    world.issuer.open.clear()
    await world.wait(2)
    for _ in range(50):
        async with asyncio.timeout(0):  # nobody waits, not even for one turn of the loop
            assert (await world.source.fetched()).reveal() == "token-1"
    assert world.issuer.asked == 2
    world.issuer.open.set()
    await world.wait()
    assert (world.now(), world.issuer.asked) == ("token-2", 2)


async def test_nobody_needs_to_call_for_that(world: World) -> None:
    await world.source.fetched()
    for _ in range(3):
        await world.wait(HOUR_S - RENEW_BEFORE_S)
    assert world.now() == "token-4"


@pytest.mark.parametrize(("lifetime_s", "renewed_after_s"), [(HOUR_S, 3300.0), (100.0, 80.0), (10.0, 8.0)])
async def test_of_a_short_life_a_fifth_is_left(world: World, lifetime_s: float, renewed_after_s: float) -> None:
    world.issuer.lifetime_s = lifetime_s
    await world.source.fetched()
    await world.wait(renewed_after_s - 0.01)
    assert world.issuer.asked == 1
    await world.wait(0.02)
    assert world.issuer.asked == 2


async def test_one_that_would_end_on_its_way_is_not_sent(world: World) -> None:
    await world.source.fetched()
    world.issuer.open.clear()
    await world.wait(HOUR_S - 11)
    assert world.now() == "token-1"
    await world.wait(2)
    assert world.now() is None


async def test_a_life_is_believed_for_a_day(world: World) -> None:
    world.issuer.lifetime_s = 1e9
    await world.source.fetched()
    await world.wait(LONGEST_LIFE_S - RENEW_BEFORE_S)
    assert world.now() == "token-2"


@pytest.mark.parametrize("lifetime_s", [0.0, -5.0, float("nan")])
async def test_a_token_that_is_over_is_none(world: World, lifetime_s: float) -> None:
    world.issuer.lifetime_s = lifetime_s
    assert (await world.failed()).reason is Reason.UPSTREAM_UNREACHABLE


async def test_a_renewal_that_fails_is_tried_again_and_only_logged(world: World) -> None:
    await world.source.fetched()
    world.issuer.failure = UpstreamError(Reason.PROVIDER_AUTH_FAILED, detail="token endpoint answered 401")
    with structlog.testing.capture_logs() as lines:
        await world.wait(HOUR_S - RENEW_BEFORE_S)
        assert world.now() == "token-1"
        await world.wait(FIRST_PAUSE_S)
        await world.wait(2 * FIRST_PAUSE_S)
    assert world.issuer.asked == 4
    assert lines[0] == {
        "event": "token not fetched",
        "log_level": "warning",
        "room": "credentials",
        "provider": "p",
        "key_id": "key-1",
        "reason": "PROVIDER_AUTH_FAILED",
        "detail": "token endpoint answered 401",
        "one_is_valid": True,
    }
    world.issuer.failure = None
    await world.wait(4 * FIRST_PAUSE_S)
    assert world.now() == "token-5"


async def test_pauses_grow_and_are_bounded(world: World) -> None:
    world.issuer.failure = UpstreamError(Reason.UPSTREAM_UNREACHABLE)
    world.source.warm_up()
    await world.wait()
    asked: list[int] = []
    for pause_s in (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, *[LONGEST_PAUSE_S] * 3):
        await world.wait(pause_s / 2 - 0.01)
        asked.append(world.issuer.asked)
        await world.wait(pause_s / 2 + 0.01)
    assert asked == list(range(1, 10))


async def test_a_first_token_that_is_not_given_fails_the_call_and_others_at_once(world: World) -> None:
    world.issuer.failure = UpstreamError(Reason.PROVIDER_AUTH_FAILED, detail="token endpoint answered 400")
    first, second = await world.failed(), await world.failed()
    assert first is not second  # each call changes its own
    assert {(each.reason, each.detail) for each in (first, second)} == {
        (Reason.PROVIDER_AUTH_FAILED, "token endpoint answered 400")
    }
    assert world.issuer.asked == 1
    world.issuer.failure = None
    await world.wait(FIRST_PAUSE_S)
    assert world.now() == "token-2"


async def test_who_gives_up_waiting_ends_nothing_for_others(world: World) -> None:
    world.issuer.open.clear()
    leaving, staying = asyncio.create_task(world.source.fetched()), asyncio.create_task(world.source.fetched())
    await world.wait()
    leaving.cancel()
    await world.wait()
    world.issuer.open.set()
    assert (await staying).reveal() == "token-1"
    assert leaving.cancelled()
    assert world.issuer.asked == 1


async def test_a_call_waits_for_a_bounded_time(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAIT_S", 0.05)
    world.issuer.open.clear()
    assert (await world.failed()).reason is Reason.UPSTREAM_UNREACHABLE
    world.issuer.open.set()
    await world.wait()
    assert (world.now(), world.issuer.asked) == ("token-1", 1)


async def test_a_fetch_takes_a_bounded_time(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FETCH_S", 0.05)
    world.issuer.open.clear()
    error = await world.failed()
    assert (error.reason, error.detail) == (Reason.UPSTREAM_UNREACHABLE, "the token took too long")


async def test_a_defect_does_not_end_the_renewing(world: World) -> None:
    world.issuer.failure = KeyError("canary")
    error = await world.failed()
    assert (error.reason, error.detail) == (Reason.UPSTREAM_UNREACHABLE, "defect: KeyError")
    world.issuer.failure = None
    await world.wait(FIRST_PAUSE_S)
    assert world.now() == "token-2"


async def test_a_token_that_was_revoked_is_replaced_and_a_fresh_one_is_not(world: World) -> None:
    revoked = await world.source.fetched()
    await world.wait(REFUSED_AFTER_S)
    assert [world.source.refused(revoked) for _ in range(50)] == [True] * 50
    assert world.now() is None
    fresh = await world.source.fetched()
    assert (fresh.reveal(), world.issuer.asked) == ("token-2", 2)
    assert not world.source.refused(fresh)
    assert world.source.refused(revoked)  # a call that was still under way with it
    assert (world.now(), world.issuer.asked) == ("token-2", 2)


async def test_a_closed_source_asks_nobody(world: World) -> None:
    world.issuer.open.clear()
    waiting = asyncio.create_task(world.source.fetched())
    await world.wait()
    await world.source.aclose()
    with pytest.raises(UpstreamError):
        await waiting
    world.source.warm_up()
    assert (world.now(), world.issuer.asked) == (None, 1)


def test_a_secret_is_in_no_text() -> None:
    assert "canary" not in repr(Token(Secret("canary"), 1.0))
