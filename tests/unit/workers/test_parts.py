"""The small parts of the workers' room: shares, delays, rounds, lines."""

from __future__ import annotations

import asyncio
import os
import resource
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmgateway_server.config.load import ConfigError, from_document, from_file, load
from llmgateway_server.config.settings import Settings
from llmgateway_server.http.settings import HttpSettings
from llmgateway_server.workers.backoff import Backoff
from llmgateway_server.workers.descriptors import MOST_BELOW, opened_high
from llmgateway_server.workers.lines import ATOMIC_BYTES, WholeLines
from llmgateway_server.workers.rounds import Rounds
from llmgateway_server.workers.shares import SHARED, share_of

ROOT = Path(__file__).parents[3]
SIMULATOR = {"providers": {"simulator": {"vendor": "simulator"}}}
PRICED = {
    "providers": {"up": {"vendor": "openai", "base_url": "http://127.0.0.1:1/v1", "api_keys": ["a", "env:B"]}},
    "models": {
        "fast": {
            "targets": [{"provider": "up", "model": "m", "price": {"input_usd": "0.25", "output_usd": 1.000001}}],
            "capabilities": ["STREAMING"],
            "tier": "BASIC",
            "inference_type": "PROVISIONED",
        }
    },
}


def test_what_is_set_bounds_the_gateway_and_not_each_worker() -> None:
    settings = from_document(
        {
            **SIMULATOR,
            "server": {"workers": 3, "listen": "127.0.0.1:0"},
            "http": {"listen": "127.0.0.1:0"},
            "gate": {"max_in_flight": 10, "max_memory_bytes": 500_000_000},
            "throttle": {"calls_per_minute": 1, "calls_burst": 6},
        },
        "test",
    )
    share = share_of(settings, "127.0.0.1:4711")
    assert share.server == settings.server.model_copy(update={"listen": "127.0.0.1:4711"})
    assert share.http == HttpSettings()
    assert (share.gate.max_in_flight, share.throttle.calls_per_minute, share.throttle.calls_burst) == (4, 1, 2)
    assert share.gate.max_memory_bytes == 500_000_000
    for section, fields in SHARED.items():
        for field in fields:
            whole, part = getattr(getattr(settings, section), field), getattr(getattr(share, section), field)
            assert part >= 1
            assert whole <= 3 * part < whole + 3


@pytest.mark.parametrize("document", [SIMULATOR, PRICED, None], ids=["simulator", "prices", "example"])
def test_settings_reach_a_worker_unchanged(document: dict[str, object] | None) -> None:
    settings = from_document(document, "test") if document else from_file(ROOT / "deploy" / "gateway.example.yaml")
    share = share_of(settings, settings.server.listen)
    assert Settings.model_validate_json(share.model_dump_json()) == share


def test_several_workers_cannot_share_a_unix_socket() -> None:
    with pytest.raises(ConfigError, match=r"server\.workers: several workers cannot share a Unix socket"):
        from_document({**SIMULATOR, "server": {"workers": 2, "listen": "unix:/tmp/socket"}}, "test")


@pytest.mark.parametrize("workers", [0, 65, "many"])
def test_the_number_of_workers_is_bounded(workers: object) -> None:
    with pytest.raises(ConfigError, match=r"server\.workers"):
        from_document({**SIMULATOR, "server": {"workers": workers}}, "test")


def test_the_command_line_says_how_many() -> None:
    variables = {"LLMGATEWAY__SERVER__WORKERS": "3"}
    assert load(None, variables).settings.server.workers == 3
    assert load(None, variables, workers=2).settings.server.workers == 2
    with pytest.raises(ConfigError, match="--workers"):
        load(None, {}, listen="unix:/tmp/socket", workers=2)


def test_delays_double_up_to_a_bound_and_begin_anew_after_a_long_life() -> None:
    backoff = Backoff()
    delays = [backoff.after(0.5) for _ in range(10)]
    assert delays == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0, 10.0]
    assert [backoff.after(60.0), backoff.after(59.0), backoff.after(59.0)] == [0.1, 0.2, 0.4]


async def test_who_comes_during_a_round_waits_for_the_next_one_together() -> None:
    begun: list[int] = []
    gate = asyncio.Event()

    async def work() -> None:
        begun.append(len(begun))
        await gate.wait()

    rounds = Rounds(work)
    first = asyncio.create_task(rounds.after_now())
    while not begun:
        await asyncio.sleep(0)
    later = [asyncio.create_task(rounds.after_now()) for _ in range(5)]
    await asyncio.sleep(0)
    later[0].cancel()  # it is everybody's round: who leaves does not end it
    assert begun == [0]
    gate.set()
    await asyncio.gather(first, *later[1:])
    assert begun == [0, 1]
    await rounds.after_now()
    assert begun == [0, 1, 2]


BREAKS = "\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters=BREAKS), max_size=6000)))
def test_lines_are_written_whole_and_in_order(texts: list[str]) -> None:
    text = "".join(f"{each}\n" for each in texts)
    reading, writing = os.pipe()
    try:
        os.set_blocking(reading, False)
        pieces: list[bytes] = []

        class Recording(WholeLines):
            def put(self, piece: bytes) -> None:
                super().put(piece)
                pieces.append(os.read(reading, 1 << 20))

        assert Recording(writing).write(text) == len(text)
    finally:
        os.close(reading)
        os.close(writing)
    assert b"".join(pieces).decode() == text
    for piece in pieces:
        assert piece.endswith(b"\n")
        assert len(piece) <= ATOMIC_BYTES or piece.count(b"\n") == 1


def test_what_is_opened_high_closes_before_what_comes_later() -> None:
    before = os.open(os.devnull, os.O_RDONLY)
    with opened_high():
        listening = os.open(os.devnull, os.O_RDONLY)
    later = [os.open(os.devnull, os.O_RDONLY) for _ in range(300)]
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        assert before < max(later) < listening
        assert listening >= min(MOST_BELOW, soft // 2)
    finally:
        for each in (before, listening, *later):
            os.close(each)
