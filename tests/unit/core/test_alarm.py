"""The alarm on the loop that serves: uvloop gives a timer of less than half a millisecond back as no timer at all."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
import uvloop

from llmgateway_server.core.alarm import Alarm, OverdueError

LOOPS = pytest.mark.parametrize(
    "new_loop",
    [
        pytest.param(asyncio.new_event_loop, id="asyncio"),
        pytest.param(uvloop.new_event_loop, id="uvloop"),
    ],
)


@LOOPS
def test_a_wait_after_one_that_had_hardly_any_time(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    async def waits() -> None:
        alarm = Alarm()
        with alarm.within(0.0003):
            pass
        with alarm.within(5.0):
            pass
        with pytest.raises(OverdueError), alarm.within(0.01):
            await asyncio.sleep(5.0)
        alarm.close()

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(waits())
