"""Those who call: what they ask for, how they read, when they leave. All of it drawn from a seed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from llmgateway_server.core.calls import Call, CallScope, Deadline
from llmgateway_server.core.clock import Clock
from llmgateway_server.core.messages import Message, Part, Role, TextPart
from llmgateway_server.core.principal import ANONYMOUS
from llmgateway_server.core.reply import Gateway
from llmgateway_server.core.requests import CompleteRequest, HedgePolicy, MidStreamPolicy, Operation, RoutingOptions
from llmgateway_server.routing.strategies.names import Strategy
from tests.simulation.watch import Story, Watch


@dataclass(slots=True, frozen=True)
class Manners:
    """How a caller reads.

    Attributes:
        leaves_after_s: when it cancels its call; None: never.
        batches: after how many it has enough and closes the reply; None: it reads to the end.
        pause_s: between two reads.
    """

    leaves_after_s: float | None = None
    batches: int | None = None
    pause_s: float = 0.0


def draw_manners(rng: Random) -> Manners:
    kind = rng.random()
    if kind < 0.15:
        return Manners(leaves_after_s=rng.choice((0.0, rng.uniform(0.0, 2.0), rng.uniform(0.0, 40.0))))
    if kind < 0.2:
        return Manners(batches=rng.randrange(1, 4))
    return Manners(pause_s=rng.uniform(0.01, 1.0)) if kind < 0.3 else Manners()


def draw_call(number: int, models: Sequence[str], accounts: Sequence[str], rng: Random, now_s: float) -> Call:
    hedge = HedgePolicy(delay_s=rng.choice((None, 0.0, rng.uniform(0.05, 2.0)))) if rng.random() < 0.25 else None
    routing = RoutingOptions(
        strategy=rng.choice(("", "", rng.choice(list(Strategy)).value)),
        preferred_providers=(rng.choice(accounts),) if rng.random() < 0.1 else (),
        excluded_providers=(rng.choice(accounts),) if rng.random() < 0.15 else (),
        session_affinity_key=rng.choice(("", "", f"session-{rng.randrange(5)}")),
        fallback_enabled=rng.random() < 0.9,
        max_attempts=rng.choice((None, None, 1, 2, 3)),
        hedge=hedge,
        mid_stream_policy=rng.choice((MidStreamPolicy.FAIL, *MidStreamPolicy)),
    )
    within_s = rng.choice((rng.uniform(0.2, 3.0), rng.uniform(3.0, 30.0), rng.uniform(30.0, 150.0)))
    return make_call(
        f"call-{number}",
        rng.choice(models),
        routing,
        Deadline(now_s + within_s, from_client=within_s < 30.0 or rng.random() < 0.7),  # ours is a long one
        now_s,
        streaming=rng.random() < 0.75,
        max_output_tokens=rng.choice((None, 16)),
    )


def make_call(
    name: str,
    model: str,
    routing: RoutingOptions,
    deadline: Deadline,
    now_s: float,
    *,
    streaming: bool = True,
    max_output_tokens: int | None = None,
) -> Call:
    request = CompleteRequest(
        model=model,
        messages=[Message(Role.USER, [Part(TextPart("hello"))])],
        max_output_tokens=max_output_tokens,
        routing=routing,
        input_byte_count=5,
    )
    scope = CallScope(name, "/llmgateway.v1.LlmGateway/StreamComplete", "127.0.0.1", {}, now_s, deadline, ANONYMOUS)
    return Call(scope, Operation.COMPLETE, streaming, request)


async def read(gateway: Gateway, story: Story, manners: Manners, watch: Watch, clock: Clock) -> None:
    """Reads the reply of a call as its caller does; to be run in a task of its own, named as the call."""
    watch.began(story)
    error: BaseException | None = None
    timer: asyncio.TimerHandle | None = None
    task = asyncio.current_task()
    if manners.leaves_after_s is not None and task is not None:
        timer = asyncio.get_running_loop().call_later(manners.leaves_after_s, _leave, task, story, watch)
    try:
        await _read(gateway, story, manners, watch, clock)
    except asyncio.CancelledError as cancelled:
        error = cancelled
    except Exception as failure:  # noqa: BLE001  # the watch says which may end a call
        error = failure
    if timer is not None:
        timer.cancel()
    watch.ended(story, error)


async def _read(gateway: Gateway, story: Story, manners: Manners, watch: Watch, clock: Clock) -> None:
    batch_count = 0
    began_s = clock.monotonic_s()
    try:
        async with gateway.open(story.call) as reply:
            while True:
                try:
                    batch = await anext(reply)
                except StopAsyncIteration:
                    return
                finally:
                    watch.waited(story, began_s)
                watch.delivered(story, batch)
                batch_count += 1
                if batch_count == manners.batches and not story.finished:
                    watch.left(story)
                    return
                if manners.pause_s and not story.finished:
                    await clock.sleep(manners.pause_s)
                    if story.call.deadline.remaining_s(clock.monotonic_s()) <= 0:
                        watch.left(story)  # as the transport ends a call that is over
                        return
                began_s = clock.monotonic_s()
    finally:
        watch.waited(story, clock.monotonic_s())


def _leave(task: asyncio.Task[None], story: Story, watch: Watch) -> None:
    watch.left(story)
    task.cancel()
