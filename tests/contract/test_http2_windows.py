"""The http2 transport sends what the caller's windows allow, and no caller who does not read costs the others."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest
from h2.events import SettingsAcknowledged
from h2.settings import SettingCodes

from tests.contract.http2_kit import (
    COUNT,
    DEFAULT_WINDOW,
    ECHO,
    ENDLESS,
    ENDLESS_BYTES,
    FAIL,
    FILL,
    Caller,
    Reply,
    calling,
    pattern,
    serving,
)
from tests.contract.raw_server import until
from tests.faults.h2 import CANCEL

KIB, MIB = 1024, 1024 * 1024
WIDE = 2**30


def has(reply: Reply, size: int) -> bool:
    return len(reply.data) == size


@pytest.mark.parametrize(
    ("window", "size"),
    [
        *[(1, size) for size in (0, 1, 300)],
        *[(5, size) for size in (0, 1, 5, 2 * KIB)],
        *[(100, size) for size in (0, 94, 95, 96, 30 * KIB)],
        *[(16_384, size) for size in (16_378, 16_379, 16_380, 16_384, MIB)],
        *[(DEFAULT_WINDOW, size) for size in (0, 16_379, 16_380, 65_529, 65_530, 65_531, MIB)],
        *[(4 * MIB, size) for size in (65_530, 65_531, MIB)],
    ],
)
async def test_a_unary_reply_comes_through_any_window(window: int, size: int) -> None:
    async with serving() as served, calling(served, window) as caller:
        for _ in range(2):
            assert (await caller.ask(FILL, b"%d" % size)).only == pattern(size)
        assert (await caller.ask(ECHO, b"after")).only == b"after"


@pytest.mark.parametrize(
    ("window", "count", "size"),
    [(1, 20, 3), (5, 50, 0), (100, 100, 50), (100, 4, 3000), (16_384, 20, 50_000), (4 * MIB, 300, 1000), (5, 0, 0)],
)
async def test_a_streamed_reply_comes_through_any_window(window: int, count: int, size: int) -> None:
    async with serving() as served, calling(served, window) as caller:
        reply = await caller.ask(COUNT, b"%d %d" % (count, size))
        assert reply.messages == [pattern(size)] * count
        assert (reply.ended, reply.status) == (True, 0)


@pytest.mark.parametrize("step", [1, 4, 5, 6, 100, 5000])
async def test_a_window_of_nothing_opens_step_by_step(step: int) -> None:
    async with serving() as served, calling(served, 0, gives_back=False) as caller:
        number, whole = caller.call(FILL, b"%d" % (3 * step)), 5 + 3 * step
        reply = caller.replies[number]
        await until(lambda: served.unsent_bytes() == whole)
        for opened in range(step, whole + step, step):
            assert len(reply.data) == opened - step
            caller.open_window(step, number)
            await caller.until(partial(has, reply, min(opened, whole)))
        assert (await caller.reply(number)).only == pattern(3 * step)


async def test_a_status_without_a_message_needs_no_window() -> None:
    async with serving() as served, calling(served, 0, gives_back=False) as caller:
        reply = await caller.ask(FAIL, b"no")
        assert (reply.status, reply.message, reply.trailers) == (9, "no", {})


async def test_many_streams_share_a_small_connection_window_and_all_end() -> None:
    async with serving() as served, calling(served, MIB) as caller:
        replies = [caller.call(FILL, b"%d" % (20 * KIB + number)) for number in range(100)]
        streams = [caller.call(COUNT, b"20 %d" % (1000 + number)) for number in range(20)]
        for index, number in enumerate(replies):
            assert (await caller.reply(number)).only == pattern(20 * KIB + index)
        for index, number in enumerate(streams):
            assert (await caller.reply(number)).messages == [pattern(1000 + index)] * 20


async def test_streams_take_turns_where_the_connection_is_the_bottleneck() -> None:
    async with serving() as served, calling(served, WIDE, gives_back=False) as caller:
        replies = [caller.replies[caller.call(ENDLESS)] for _ in range(8)]

        def has_all(size: int) -> bool:
            return sum(len(reply.data) for reply in replies) == size

        await caller.until(partial(has_all, DEFAULT_WINDOW))
        for step in range(1, 81):
            caller.open_window(ENDLESS_BYTES)
            await caller.until(partial(has_all, DEFAULT_WINDOW + step * ENDLESS_BYTES))
        sizes = [len(reply.data) for reply in replies]
        assert min(sizes) > sum(sizes) / len(sizes) / 2


async def test_a_stream_window_that_grows_by_settings_lets_everything_go_on() -> None:
    async with serving() as served, calling(served, 10, gives_back=False) as caller:
        numbers = [caller.call(FILL, b"1000") for _ in range(5)]
        await caller.until(lambda: all(len(caller.replies[each].data) == 10 for each in numbers))
        caller.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 500})
        caller.flush()
        await caller.until(lambda: all(len(caller.replies[each].data) == 500 for each in numbers))
        caller.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 2000})
        caller.flush()
        for number in (*numbers, caller.call(FILL, b"1000")):
            assert (await caller.reply(number)).only == pattern(1000)


async def test_a_window_below_zero_must_first_be_filled_up() -> None:
    async with serving() as served, calling(served, 1000, gives_back=False) as caller:
        number = caller.call(FILL, b"5000")
        reply = caller.replies[number]
        await caller.until(lambda: len(reply.data) == 1000)
        caller.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 100})  # the stream's is now -900
        caller.open_window(899, number)
        assert (await caller.ask(ECHO, b"others go on")).only == b"others go on"
        assert len(reply.data) == 1000
        caller.open_window(1, number)  # 0
        assert (await caller.ask(ECHO, b"and again")).only == b"and again"
        assert len(reply.data) == 1000
        caller.open_window(7, number)
        await caller.until(lambda: len(reply.data) == 1007)
        caller.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 50})  # -50
        caller.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 150})  # +50
        caller.flush()
        await caller.until(lambda: len(reply.data) == 1057)
        caller.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 10_000})
        caller.flush()
        assert (await caller.reply(number)).only == pattern(5000)


async def test_windows_that_change_all_the_time_lose_nothing() -> None:
    async with serving() as served, calling(served, 100) as caller:
        numbers = [caller.call(COUNT, b"30 200") for _ in range(4)]
        for step in range(60):
            caller.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: (0, 1000, 7, 300)[step % 4]})
            caller.flush()
            await caller.until(partial(acknowledged, caller, step + 2))
        caller.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 65_535})
        caller.flush()
        for number in numbers:
            assert (await caller.reply(number)).messages == [pattern(200)] * 30


def acknowledged(caller: Caller, times: int) -> bool:
    return sum(each is SettingsAcknowledged for each in caller.events) == times


# --- Who does not read ---------------------------------------------------------------------------------------------


async def stuck(caller: Caller, *more: tuple[str, str]) -> int:
    """Begins an endless reply whose window stays closed and waits until it is full."""
    number = caller.call(ENDLESS, b"", *more)
    window = caller.h2.local_settings.initial_window_size
    await caller.until(lambda: len(caller.replies[number].data) == window)
    return number


async def test_a_closed_stream_window_holds_up_only_its_own_stream() -> None:
    async with serving() as served, calling(served, 20_000, gives_back=False) as caller:
        await stuck(caller)
        caller.open_window(MIB)
        assert served.service.written == 1
        for number in range(100):
            assert (await caller.ask(ECHO, b"%d" % number)).only == b"%d" % number
        assert served.service.written == 1  # the handler waits in its second message
        assert served.unsent_bytes() <= 2 * ENDLESS_BYTES


async def test_a_closed_connection_window_stops_all_handlers_and_their_memory() -> None:
    async with serving() as served, calling(served, WIDE, gives_back=False) as caller:
        numbers = [caller.call(ENDLESS) for _ in range(20)]
        await caller.until(lambda: sum(len(caller.replies[each].data) for each in numbers) == DEFAULT_WINDOW)
        await until(lambda: served.service.running == 20)
        async with calling(served) as other:
            assert (await other.ask(ECHO, b"other")).only == b"other"
        assert served.service.written <= DEFAULT_WINDOW // ENDLESS_BYTES
        assert served.unsent_bytes() <= 20 * (ENDLESS_BYTES + 5)


async def test_a_caller_who_does_not_read_its_socket_stops_the_handler() -> None:
    async with serving() as served, calling(served, WIDE, gives_back=False) as caller:
        caller.open_window(WIDE)
        caller._reader._transport.pause_reading()  # type: ignore[attr-defined]
        caller.call(ENDLESS)
        written = -1
        while served.service.written != written:  # the kernel's buffers fill up
            written = served.service.written
            async with calling(served) as other:
                assert (await other.ask(FILL, b"100000")).only == pattern(100_000)
        assert served.unsent_bytes() < 256 * KIB
        caller._reader._transport.resume_reading()  # type: ignore[attr-defined]
        await until(lambda: served.service.written > 2 * written)


async def test_a_window_that_opens_after_long_lets_the_handler_go_on() -> None:
    async with serving() as served, calling(served, 1000, gives_back=False) as caller:
        number = await stuck(caller)
        caller.open_window(WIDE, number)
        caller.open_window(WIDE)
        await until(lambda: served.service.written > 20)
        caller.cancel(number)
        await until(lambda: served.service.running == 0)


async def test_cancel_of_a_stuck_stream_ends_its_handler() -> None:
    async with serving() as served, calling(served, 1000, gives_back=False) as caller:
        number = await stuck(caller)
        caller.cancel(number)
        await until(lambda: served.service.running == 0, within_s=0.1)
        assert served.service.cancelled == 1
        assert served.unsent_bytes() == 0


async def test_a_deadline_ends_a_stuck_stream_and_its_handler() -> None:
    async with serving() as served, calling(served, 1000, gives_back=False) as caller:
        number = await stuck(caller, ("grpc-timeout", "100m"))
        reply = await caller.reply(number)
        assert (reply.ended, reply.error) == (False, CANCEL)
        assert (served.service.running, served.service.cancelled) == (0, 1)


async def test_a_deadline_ends_a_reply_that_nobody_reads_though_its_handler_is_done() -> None:
    async with serving() as served, calling(served, 0, gives_back=False) as caller:
        number = caller.call(FILL, b"1000", ("grpc-timeout", "100m"))
        await until(lambda: len(served.service.contexts) == 1 and served.service.running == 0)
        reply = await caller.reply(number)
        assert (reply.ended, reply.error) == (False, CANCEL)
        assert served.unsent_bytes() == 0


async def test_a_caller_who_hangs_up_ends_its_stuck_streams() -> None:
    async with serving() as served:
        async with calling(served, 1000, gives_back=False) as caller:
            for _ in range(5):
                await stuck(caller)
            caller.leave()
            await until(lambda: served.service.running == 0, within_s=0.1)
        assert served.service.cancelled == 5
        await until(lambda: not served.connections)


async def test_stuck_streams_that_are_cancelled_make_room_for_others() -> None:
    async with serving(max_streams=3) as served, calling(served, 1000, gives_back=False) as caller:
        numbers = [await stuck(caller) for _ in range(3)]
        for number in numbers:
            caller.cancel(number)
        await until(lambda: served.service.running == 0)
        caller.open_window(MIB)
        replies = await asyncio.gather(*(caller.ask(ECHO, b"again") for _ in range(3)))
        assert [reply.only for reply in replies] == [b"again"] * 3


async def test_the_end_of_a_reply_that_nobody_reads_is_kept_for_a_minute() -> None:
    async with serving() as served, calling(served, 10, gives_back=False) as caller:
        number = caller.call(FILL, b"1000")
        await caller.until(lambda: len(caller.replies[number].data) == 10)
        await until(lambda: served.service.running == 0)
        served.tick(29)
        assert (await caller.ask(ECHO, b"hi")).only == b"hi"
        assert not caller.replies[number].over
        served.tick(61)
        await caller.until(lambda: caller.replies[number].over)
        assert caller.replies[number].error == CANCEL
        assert (await caller.ask(ECHO, b"hi")).only == b"hi"
