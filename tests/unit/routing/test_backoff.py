"""Delays before a target is asked again."""

from __future__ import annotations

import math
from random import Random

import pytest

from llmgateway_server.routing.backoff import LONGEST_RETRY_AFTER_S, Backoff, longest_s

NAN, INF = math.nan, math.inf


@pytest.mark.parametrize(
    ("retries", "longest"), [(0, 0.5), (1, 1.0), (2, 2.0), (3, 4.0), (4, 8.0), (5, 8.0), (10**6, 8.0)]
)
def test_the_longest_delay_doubles_up_to_eight_seconds(retries: int, longest: float) -> None:
    assert longest_s(retries) == longest
    drawn = [Backoff(Random(seed)).delay_s(retries, None, INF) for seed in range(500)]
    delays = [delay for delay in drawn if delay is not None]
    assert len(delays) == len(drawn)
    assert 0.0 <= min(delays) < longest * 0.05
    assert longest * 0.95 < max(delays) <= longest
    assert sum(delays) / len(delays) == pytest.approx(longest / 2, rel=0.1), "full jitter: every delay is as likely"


def test_retry_after_is_a_minimum() -> None:
    delays = {Backoff(Random(seed)).delay_s(3, 2.0, INF) for seed in range(200)}
    assert min(delay for delay in delays if delay is not None) == 2.0
    assert max(delay for delay in delays if delay is not None) > 3.5


@pytest.mark.parametrize("retry_after_s", [None, NAN, 0.0, -1.0, -INF])
def test_what_is_no_time_asks_for_nothing(retry_after_s: float | None) -> None:
    assert Backoff(Random(1)).delay_s(0, retry_after_s, INF) == Backoff(Random(1)).delay_s(0, None, INF)


@pytest.mark.parametrize(
    ("retry_after_s", "allowed_s", "waits"),
    [
        (LONGEST_RETRY_AFTER_S, INF, True),
        (5.001, INF, False),
        (3600.0, INF, False),
        (INF, INF, False),
        (2.0, 2.0, True),
        (2.0, 1.999, False),
    ],
)
def test_a_time_that_is_too_long_is_not_waited_for(retry_after_s: float, allowed_s: float, waits: bool) -> None:
    assert (Backoff(Random(1)).delay_s(0, retry_after_s, allowed_s) is not None) is waits


@pytest.mark.parametrize("allowed_s", [-0.001, -INF, NAN])
def test_without_time_there_is_no_delay_at_all(allowed_s: float) -> None:
    assert Backoff(Random(1)).delay_s(0, None, allowed_s) is None


def test_a_delay_fits_into_what_the_deadline_leaves() -> None:
    for seed in range(200):
        delay = Backoff(Random(seed)).delay_s(4, None, 0.2)
        assert delay is not None
        assert 0.0 <= delay <= 0.2
    assert Backoff(Random(1)).delay_s(4, None, 0.0) == 0.0
