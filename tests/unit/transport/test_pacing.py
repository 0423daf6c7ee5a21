from __future__ import annotations

import pytest

from llmgateway_server.testing.clock import ManualClock
from llmgateway_server.transport.services.pacing import Pacing


def rests(streams: int, messages_per_s: float, seconds: float = 1.0) -> list[float]:
    clock = ManualClock()
    pacing = Pacing(6000, clock)
    pacing.open_streams = streams
    found = []
    for _ in range(round(seconds * messages_per_s)):
        clock.advance(1 / messages_per_s)
        found.append(pacing.wrote())
    return found


@pytest.mark.parametrize(("streams", "messages_per_s"), [(1, 200), (100, 2000), (1000, 4000)])
def test_what_one_process_can_write_is_not_slowed_down(streams: int, messages_per_s: float) -> None:
    assert set(rests(streams, messages_per_s)) == {0.0}


def test_a_crowd_rests() -> None:
    found = rests(1000, 20_000)
    assert found[0] == 0.0
    assert found[-1] == pytest.approx(1000 / 6000)


def test_it_goes_on_as_long_as_there_is_a_crowd_and_no_longer() -> None:
    clock = ManualClock()
    pacing = Pacing(6000, clock)
    pacing.open_streams = 1000
    for rate, expected in ((20_000, True), (6000, True), (3000, False)):  # 6000 is what is left of 20,000 that rest
        rest_s = 0.0
        for _ in range(rate):
            clock.advance(1 / rate)
            rest_s = pacing.wrote()
        assert (rest_s > 0) is expected


def test_time_without_messages_is_no_crowd() -> None:
    clock = ManualClock()
    pacing = Pacing(6000, clock)
    pacing.open_streams = 1000
    for _ in range(1000):
        assert pacing.wrote() == 0.0
    clock.advance(60)
    assert pacing.wrote() == 0.0
