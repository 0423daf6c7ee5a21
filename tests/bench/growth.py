"""How the cost of a call grows with what the gateway has to know, and with the length of the prompt."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from tests.bench import gateways, load
from tests.bench.gateways import Gateway, Size
from tests.bench.load import Contestant
from tests.bench.loops import run_loop
from tests.bench.processes import Child

FACTOR = 10
IN_FLIGHT = 16
BASE = "base"
PROMPT_KB = (1, 100, 200)


@dataclass(slots=True)
class Growth:
    """Costs in µs per call, one value per round."""

    sizes: dict[str, list[float]] = field(default_factory=dict)
    """By axis that is ten times as large; BASE is the gateway that they are compared with."""
    prompts: dict[int, list[float]] = field(default_factory=dict)
    """By length of the prompt in KB (1,000 characters)."""

    def times(self, axis: str) -> float:
        """Returns what the ten-fold size costs, over the cost of the base."""
        return median(large / small for large, small in zip(self.sizes[axis], self.sizes[BASE], strict=True))

    def per_kb(self, shorter: int, longer: int) -> float:
        """Returns µs for each further KB between two lengths."""
        pairs = zip(self.prompts[longer], self.prompts[shorter], strict=True)
        return median(more - less for more, less in pairs) / (longer - shorter)


def measure(
    provider: Child, folder: Path, axes: Sequence[str], *, rounds: int, seconds: float, say: Callable[[str], None]
) -> Growth:
    """Starts a gateway for each axis beside the base and measures unary calls, in rounds.

    Raises:
        RuntimeError: a gateway did not start; see also `callers.FAILED`.
    """
    base = Size()
    plans = {BASE: gateways.sized(provider.address, base)} | {
        axis: gateways.sized(provider.address, base.times(axis, FACTOR)) for axis in axes
    }
    with ExitStack() as stack:
        say(f"starting {len(plans)} gateways of different sizes")
        running = {
            name: (plan, stack.enter_context(plan.started(f"growth-{name}", folder))) for name, plan in plans.items()
        }
        return run_loop(_measure(running, rounds, seconds, say))


async def _measure(
    running: Mapping[str, tuple[Gateway, Child]], rounds: int, seconds: float, say: Callable[[str], None]
) -> Growth:
    growth = Growth()
    async with AsyncExitStack() as stack:
        sizes = {
            name: Contestant(child, await stack.enter_async_context(plan.caller(child.address)))
            for name, (plan, child) in running.items()
        }
        plan, child = running[BASE]
        prompts = {
            kb: Contestant(child, await stack.enter_async_context(plan.caller(child.address, prompt_chars=1000 * kb)))
            for kb in PROMPT_KB
        }
        for contestant in (*sizes.values(), *prompts.values()):
            await load.unary_closed(contestant, in_flight=8, seconds=0.3)
        for number in range(1, rounds + 1):
            say(f"growth, round {number} of {rounds}")
            for name, contestant in sizes.items():
                growth.sizes.setdefault(name, []).append(await _cost(contestant, seconds))
            for kb, contestant in prompts.items():
                growth.prompts.setdefault(kb, []).append(await _cost(contestant, seconds))
    return growth


async def _cost(contestant: Contestant, seconds: float) -> float:
    result = await load.unary_closed(contestant, in_flight=IN_FLIGHT, seconds=seconds)
    return 1e6 * result.cpu_s / result.calls
