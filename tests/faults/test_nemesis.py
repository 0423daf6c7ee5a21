"""P34: two of three targets fail in ways that change every moment; the third must be enough for every caller.

The gateway is a process of its own. Every prompt has its own text to be answered with, and providers go on from what a
request already holds of it, so that a reply that lost or doubled anything cannot be equal to its text.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any
from zlib import crc32

import grpc.aio
import pytest

from llmgateway.fold import fold
from llmgateway.v1 import routing_pb2
from llmgateway_server.testing.upstream import (
    MODEL,
    STREAM_HEAD,
    Exchange,
    Step,
    Upstream,
    answer,
    chunk,
    close,
    delta,
    event,
    hang,
    head,
    json_answer,
    raw,
    reset,
    stream,
)
from tests.faults.faulty import for_ever
from tests.faults.kit import BACKSTOP_S, ask, child_gateway, idle, reason_of, settings
from tests.faults.load_kit import CALLS_PER_S, offered
from tests.faults.provider_kit import JSON_HEAD

WORDS = 12
SHARE_OF_SUCCESSES = 0.999
SHARE_OF_RETRIES = 0.10
CALL_S = 10.0
"""What a call may take: a target that hangs may use half of it."""
POLICIES = (routing_pb2.MID_STREAM_POLICY_CONTINUE, routing_pb2.MID_STREAM_POLICY_RESTART)
Fault = Callable[[Exchange, list[str]], Awaitable[None]]


def text_for(prompt: str) -> str:
    return "".join(f"{prompt}.{at} " for at in range(WORDS))


def words_left(exchange: Exchange) -> list[str]:
    """Returns what is still to be said to a request, which may hold the beginning of its answer."""
    prompt, *partial = [each["content"] for each in exchange.received.body["messages"]]
    text, said = text_for(prompt), "".join(partial)
    left = text.removeprefix(said) if text.startswith(said) else "the beginning is another's "
    return left.split(" ")[:-1]


async def play(exchange: Exchange, *steps: Any) -> None:
    for step in steps:
        await step(exchange)


def streams(exchange: Exchange) -> bool:
    return bool(exchange.received.body.get("stream"))


async def healthy(exchange: Exchange, words: list[str]) -> None:
    if streams(exchange):
        await play(exchange, *stream(*(f"{word} " for word in words)))
    else:
        await play(exchange, answer("".join(f"{word} " for word in words)))


async def refuse(exchange: Exchange, words: list[str]) -> None:
    await play(exchange, json_answer({"error": {"message": "busy"}}, 503))


async def drop(exchange: Exchange, words: list[str]) -> None:
    await play(exchange, reset)


async def silence(exchange: Exchange, words: list[str]) -> None:
    await play(exchange, hang)


async def cut(exchange: Exchange, words: list[str]) -> None:
    if streams(exchange):
        said = words[: crc32(words[0].encode()) % WORDS]
        await play(exchange, STREAM_HEAD, *(event(delta(f"{word} ")) for word in said), close)
    else:
        await play(exchange, head(200, {**JSON_HEAD, "content-length": "999"}), raw(b'{"choices":['), close)


async def trickle(exchange: Exchange, words: list[str]) -> None:
    if streams(exchange):
        await play(exchange, STREAM_HEAD, event(delta(f"{words[0]} ")), for_ever(chunk(b": ping\n\n")))
    else:
        await play(exchange, head(200, {**JSON_HEAD, "content-length": "99999"}), for_ever(raw(b" ")))


async def nonsense(exchange: Exchange, words: list[str]) -> None:
    if streams(exchange):
        await play(exchange, STREAM_HEAD, event(delta(f"{words[0]} ")), event("{nonsense"))
    else:
        await play(exchange, raw(b"HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nnonsense"))


FAULTS: tuple[Fault, ...] = (refuse, drop, silence, cut, trickle, nonsense)


class Sick:
    """A target that is never well, and each moment in another way.

    Args:
        rng: chooses the faults and how long each lasts.
    """

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._fault = rng.choice(FAULTS)
        self.met: Counter[str] = Counter()
        """How many requests met which fault."""

    async def __call__(self, exchange: Exchange) -> None:
        self.met[self._fault.__name__] += 1
        await self._fault(exchange, words_left(exchange))

    async def change(self) -> None:
        while True:
            await asyncio.sleep(self._rng.uniform(0.1, 0.3))
            self._fault = self._rng.choice(FAULTS)


async def well(exchange: Exchange) -> None:
    await healthy(exchange, words_left(exchange))


def document(upstreams: list[Upstream], open_s: float) -> dict[str, Any]:
    names = ("one", "two", "three")
    made = settings(
        max_attempts=3,
        models={"m": {"targets": [{"provider": name, "model": MODEL} for name in names]}},
        timeouts={"first_token_s": 0.3, "idle_s": 0.5, "progress_s": 0.5},
        deadlines={"unary_default_s": CALL_S, "stream_default_s": CALL_S},
        breakers={"open_s": open_s},
    )
    made["providers"] |= {name: each.provider() for name, each in zip(names, upstreams, strict=True)}
    return made


async def outcome(stub: Any, number: int) -> str:
    """Makes a call and returns how it ended: `ok`, its reason, or what is wrong with its text."""
    prompt = f"p{number}"
    try:
        async with asyncio.timeout(BACKSTOP_S + CALL_S):
            if number % 2:
                reply = await stub.Complete(ask(prompt, "m"))
            else:
                routing = {"mid_stream_policy": POLICIES[number // 2 % 2]}
                messages = stub.StreamComplete(ask(prompt, "m", routing=routing))
                reply = fold([each async for message in messages for each in message.events])
    except grpc.aio.AioRpcError as error:
        return f"{'unary' if number % 2 else 'stream'}: {reason_of(error) or error.code().name}"
    except TimeoutError:
        return "no end"
    told = "".join(part.text for part in reply.parts)
    return "ok" if told == text_for(prompt) else f"text: {told}"


@pytest.mark.parametrize(
    ("seed", "for_s", "open_s"),
    [
        pytest.param(1, 3.0, 30.0, id="short"),
        pytest.param(2, 8.0, 30.0, id="as configured", marks=pytest.mark.slow),
        pytest.param(3, 8.0, 1.0, id="breakers that try again soon", marks=pytest.mark.slow),
    ],
)
async def test_p34_one_healthy_target_is_enough(seed: int, for_s: float, open_s: float) -> None:
    sick = [Sick(random.Random(seed * 10 + at)) for at in range(2)]
    scripts: list[Step] = [*sick, well]
    async with AsyncExitStack() as stack:
        upstreams = [await stack.enter_async_context(Upstream(script)) for script in scripts]
        child = await stack.enter_async_context(child_gateway(document(upstreams, open_s)))
        changing = [asyncio.create_task(each.change()) for each in sick]
        ended = await offered(lambda number: outcome(child.stub, number), for_s)
        for task in changing:
            task.cancel()
        await idle(child)
        child.process.terminate()
        assert await child.exit_code(within_s=2 * BACKSTOP_S) == 0
        records = child.records()
    calls = len(ended)
    failures = Counter(each for each in ended if each != "ok")
    attempts: dict[str, list[str]] = defaultdict(list)
    for each in records:
        if each["record"] == "attempt" and each["outcome"] != "shed":
            attempts[each["call_id"]].append(each["provider"])
    again = sum(len(ways) - len(set(ways)) for ways in attempts.values())
    more = sum(len(ways) - 1 for ways in attempts.values())
    print(f"{calls} calls, failures {dict(failures)}, other attempts {more}, of them at the same target {again}")
    print(f"faults met: {[dict(each.met) for each in sick]}")
    assert calls == int(for_s * CALLS_PER_S)
    assert not [each for each in failures if each.startswith(("text", "no end"))]
    assert sum(failures.values()) <= calls * (1 - SHARE_OF_SUCCESSES), failures
    assert again <= calls * SHARE_OF_RETRIES
    assert all(each.met for each in sick)
