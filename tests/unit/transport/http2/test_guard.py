"""What a peer may send for nothing, with a time that is made up."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from llmgateway_server.transport.http2.frames import Code, ConnectionFaultError
from llmgateway_server.transport.http2.guard import Bucket, Guard

NOW_S = 5.0
"""A machine that has just started: its monotonic time is small."""


def fault_of(act: Callable[[], None], times: int = 1) -> ConnectionFaultError:
    with pytest.raises(ConnectionFaultError) as caught:
        again(act, times)
    assert caught.value.code is Code.ENHANCE_YOUR_CALM
    return caught.value


def again(act: Callable[[], None], times: int) -> None:
    for _ in range(times):
        act()


def test_a_bucket_is_full_at_first_and_refills_up_to_its_size() -> None:
    bucket = Bucket(10, 2, NOW_S)
    assert [bucket.take(NOW_S) for _ in range(11)] == [True] * 10 + [False]
    bucket = Bucket(10, 2, NOW_S)
    assert bucket.take(NOW_S, 10)
    assert [bucket.take(NOW_S + 1) for _ in range(3)] == [True, True, False]
    bucket = Bucket(10, 2, NOW_S)
    assert bucket.take(NOW_S + 1000, 10)
    assert not bucket.take(NOW_S + 1000)


def test_pings_are_answered_every_ten_seconds_for_ever() -> None:
    guard = Guard(NOW_S)
    for number in range(100):
        guard.ping(NOW_S + number * 10, sent=False)


@pytest.mark.parametrize("first_s", [0.0, 100.0])
def test_the_third_ping_too_soon_after_another_is_one_too_many(first_s: float) -> None:
    guard = Guard(NOW_S)
    now_s = NOW_S + first_s
    for number in range(3):
        guard.ping(now_s + number, sent=False)
    assert fault_of(lambda: guard.ping(now_s + 3, sent=False)).why == "too_many_pings"


def test_pings_between_messages_are_nothing_unusual() -> None:
    guard = Guard(NOW_S)
    for number in range(1000):
        guard.ping(NOW_S + number / 1000, sent=True)
    for number in range(2):
        guard.ping(NOW_S + 1 + number, sent=False)
    fault_of(lambda: guard.ping(NOW_S + 3, sent=False))


def test_a_message_takes_the_strikes_away() -> None:
    guard = Guard(NOW_S)
    for number in range(30):
        guard.ping(NOW_S + number, sent=number % 3 == 0)


def test_strikes_do_not_go_away_with_time_alone() -> None:
    guard = Guard(NOW_S)
    guard.ping(NOW_S, sent=False)
    for number in range(1, 3):
        guard.ping(NOW_S + number, sent=False)
    guard.ping(NOW_S + 100, sent=False)
    fault_of(lambda: guard.ping(NOW_S + 101, sent=False))


def test_a_few_calls_may_be_taken_back_a_flood_may_not() -> None:
    guard = Guard(NOW_S)
    for number in range(2000):
        guard.reset(NOW_S + number / 10_000)
    for number in range(1000):
        guard.reset(NOW_S + 10 + number / 100)  # 100 a second go on for ever
    fault_of(lambda: guard.reset(NOW_S + 20), 2001)


def test_frames_that_carry_nothing() -> None:
    guard = Guard(NOW_S)
    for number in range(100_000):
        guard.nothing(NOW_S + number / 9000)
    fault_of(lambda: guard.nothing(NOW_S + 12), 20_001)


def test_settings_count_for_more() -> None:
    guard = Guard(NOW_S)
    for _ in range(200):
        guard.nothing(NOW_S, 100)
    fault_of(lambda: guard.nothing(NOW_S, 100))
