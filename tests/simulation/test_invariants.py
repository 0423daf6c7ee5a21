"""The invariants of RELIABILITY §6 over many made-up worlds; docs/simulation.md."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter

import pytest

from llmgateway_server import request_path
from llmgateway_server.app import App
from llmgateway_server.config.load import from_document
from llmgateway_server.testing.virtual_time import VirtualLoop
from tests.simulation.world import REAL, World, simulate

SHORT = 20
FIRST = int(os.environ.get("LLMGATEWAY_SIMULATE_FROM", "1000"))
SEEDS = int(os.environ.get("LLMGATEWAY_SIMULATE_SEEDS", "200"))

MUST_HAPPEN = {
    "breaker open",
    "breaker half_open",
    "breaker closed",
    "retries",
    "other keys",
    "onward",
    "switches",
    "hedges",
    "ended nothing",
    "ended CancelledError",
    "ended DEADLINE_EXCEEDED",
    "ended CIRCUIT_OPEN",
    "ended NO_HEALTHY_PROVIDER",
    "ended UPSTREAM_RATE_LIMITED",
    "ended UPSTREAM_STREAM_INTERRUPTED",
    "ended UPSTREAM_STALLED",
    "ended UPSTREAM_TIMEOUT",
}
"""What the short form must have met, or its silence says nothing."""


def test_no_invariant_breaks() -> None:
    counts: Counter[str] = Counter()
    for seed in range(SHORT):
        run = simulate(seed)
        assert not run.violations, run.report()
        counts.update(run.counts)
    assert set(counts) >= MUST_HAPPEN, MUST_HAPPEN - set(counts)


@pytest.mark.simulation
@pytest.mark.parametrize("seed", range(FIRST, FIRST + SEEDS))
def test_no_invariant_breaks_with(seed: int) -> None:
    run = simulate(seed)
    assert not run.violations, run.report()


def test_a_seed_is_a_run() -> None:
    first, again, other = (simulate(seed, calls=120) for seed in (7, 7, 8))
    assert first.trace_hash == again.trace_hash
    assert first.lines == again.lines
    assert first.trace_hash != other.trace_hash


def test_a_seed_is_the_same_run_in_another_process() -> None:
    """Where sets have another order, too: a replay is worth nothing otherwise."""
    code = "from tests.simulation.world import simulate; print(simulate(7, calls=120).trace_hash)"
    hashes = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": str(hash_seed)},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout.strip()
        for hash_seed in (1, 2)
    }
    assert hashes == {simulate(7, calls=120).trace_hash}


def test_a_world_has_the_stages_of_the_gateway() -> None:
    parts = App(from_document({"providers": {"simulator": {"vendor": "simulator"}}}, "test"), {}).parts
    loop = VirtualLoop()
    world = World(loop, 0, REAL)
    loop.close()
    assert list(map(type, world.call_stages)) == list(map(type, request_path.request_stages(parts)))
    assert list(map(type, world.attempt_stages)) == list(map(type, request_path.attempt_stages(parts)))


def test_a_report_says_how_to_see_it_again() -> None:
    assert "make simulate SEEDS=1 FROM=7" in simulate(7, calls=10).report()
