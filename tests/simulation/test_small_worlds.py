"""Defects that the simulation once found, each in the smallest world that shows it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import pytest

from llmgateway_server.core.calls import Attempt, Deadline, Outcome
from llmgateway_server.core.clock import Clock
from llmgateway_server.core.errors import UpstreamError
from llmgateway_server.core.events import Finished, FinishReason, PartKind, PartStarted, Started, TextDelta
from llmgateway_server.core.reasons import Reason
from llmgateway_server.core.reply import Batch, Opened
from llmgateway_server.core.requests import HedgePolicy, RoutingOptions
from llmgateway_server.core.targets import Model, Target
from llmgateway_server.routing.failover import Failover, Routes
from llmgateway_server.testing.virtual_time import START_S, VirtualClock, VirtualLoop, run
from tests.simulation.callers import make_call
from tests.unit.routing.failover_kit import routes

TARGETS = tuple(Target(name, "made-up", "chat") for name in "abc")
Answers = Mapping[str, tuple[float, Reason | None]]
"""By account: after how many seconds it answers, and with which failure."""


class Reply:
    def __init__(self, attempt: Attempt, clock: Clock, after_s: float, reason: Reason | None) -> None:
        self._record = attempt.record
        self._clock = clock
        self._after_s = after_s
        self._reason = reason
        self._batches: list[Batch] = [
            [Started("id", "chat"), PartStarted(0, PartKind.TEXT), TextDelta(0, attempt.target.provider)],
            [Finished(FinishReason.STOP)],
        ]

    async def __aenter__(self) -> Self:
        await self._clock.sleep(self._after_s)
        if self._reason is not None:
            refused = self._reason is Reason.CIRCUIT_OPEN
            self._record.outcome, self._record.reason = Outcome.SHED if refused else Outcome.FAILED, self._reason
            raise UpstreamError(self._reason)
        self._record.outcome = Outcome.SUCCEEDED
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        return None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Batch:
        if not self._batches:
            raise StopAsyncIteration
        return self._batches.pop(0)


@dataclass(slots=True)
class Lived:
    """What became of a call."""

    told: Reason | str
    """The text of its reply, or the reason of its failure."""
    asked: list[str]
    """Accounts in the order of its attempts."""
    routes: Routes


def live(
    answers: Answers, wishes: RoutingOptions, left_s: float = 30.0, after_half_a_second: Callable[[Routes], object] = id
) -> Lived:
    loop = VirtualLoop()
    clock = VirtualClock(loop)
    known = routes(clock)

    def open_attempt(attempt: Attempt) -> Opened:
        return Reply(attempt, clock, *answers[attempt.target.provider])

    failover = Failover(open_attempt, known, 3, 30.0)
    call = make_call("call", "all", wishes, Deadline(START_S + left_s, from_client=True), START_S)
    call.resolved = Model("all", TARGETS[: len(answers)])

    async def read() -> Reason | str:
        asyncio.get_running_loop().call_later(0.5, after_half_a_second, known)
        text = ""
        try:
            async with failover.open(call) as reply:
                async for batch in reply:
                    text += "".join(event.text for event in batch if isinstance(event, TextDelta))
        except UpstreamError as error:
            return error.reason
        return text

    return Lived(run(loop, read()), [record.target.provider for record in call.attempts], known)


PLAIN = RoutingOptions()
HEDGED = RoutingOptions(hedge=HedgePolicy(delay_s=0.1))
REFUSED = (0.0, Reason.CIRCUIT_OPEN)
BAD_REQUEST = (0.4, Reason.UPSTREAM_REJECTED_REQUEST)


def test_a_race_tells_what_a_provider_said() -> None:
    assert live({"a": BAD_REQUEST, "b": REFUSED}, HEDGED).told is Reason.UPSTREAM_REJECTED_REQUEST


def test_a_race_does_not_carry_a_bad_request_to_a_third_target() -> None:
    assert live({"a": BAD_REQUEST, "b": REFUSED, "c": (0.0, None)}, HEDGED).asked == ["a", "b"]


def test_a_rate_limit_in_a_race_cools_its_target_down() -> None:
    lived = live({"a": (0.4, Reason.UPSTREAM_RATE_LIMITED), "b": (0.8, Reason.UPSTREAM_REJECTED_REQUEST)}, HEDGED)
    assert lived.routes.cooldowns.left_s(TARGETS[0]) > 0


def test_a_short_call_goes_elsewhere_when_a_breaker_refuses_its_target() -> None:
    assert live({"a": REFUSED, "b": (0.0, None)}, PLAIN, left_s=0.5).told == "b"


def test_a_target_that_was_switched_off_is_not_asked_by_calls_that_run() -> None:
    lived = live(
        {"a": (0.8, Reason.UPSTREAM_ERROR), "b": (0.0, None), "c": (0.0, None)},
        PLAIN,
        after_half_a_second=lambda known: known.switches.turn("b", "", on=False),
    )
    assert lived.asked == ["a", "c"]


CONTROLS: dict[str, tuple[Callable[[], Lived], Reason | str, list[str]]] = {
    "a bad request alone": (lambda: live({"a": BAD_REQUEST}, HEDGED), Reason.UPSTREAM_REJECTED_REQUEST, ["a"]),
    "company that wins": (lambda: live({"a": (0.4, None), "b": (0.1, None)}, HEDGED), "b", ["a", "b"]),
    "a refusal with time left": (lambda: live({"a": REFUSED, "b": (0.0, None)}, PLAIN), "b", ["a", "b"]),
    "a failure without a switch": (
        lambda: live({"a": (0.8, Reason.UPSTREAM_ERROR), "b": (0.0, None), "c": (0.0, None)}, PLAIN),
        "b",
        ["a", "b"],
    ),
}
"""The same worlds without what is wrong: they show that it is not the test that fails."""


@pytest.mark.parametrize("name", CONTROLS)
def test_a_world_without_the_defect(name: str) -> None:
    make, told, asked = CONTROLS[name]
    lived = make()
    assert (lived.told, lived.asked) == (told, asked)
