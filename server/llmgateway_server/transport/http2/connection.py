"""One connection: its streams, what a peer may do, its settings, and how it grows old and ends."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

from llmgateway_server.transport.http2 import frames, headers
from llmgateway_server.transport.http2.frames import Code, ConnectionFaultError, Setting, frame
from llmgateway_server.transport.http2.guard import Guard
from llmgateway_server.transport.http2.headers import HeaderReader
from llmgateway_server.transport.http2.peers import auth_context_of, peer_of
from llmgateway_server.transport.http2.reading import FrameReader
from llmgateway_server.transport.http2.sending import Sender
from llmgateway_server.transport.http2.status import (
    DEADLINE_EXCEEDED,
    INTERNAL,
    RESOURCE_EXHAUSTED,
    UNAVAILABLE,
    UNIMPLEMENTED,
)
from llmgateway_server.transport.http2.stream import MessageError, Stream
from llmgateway_server.transport.http2.terms import CONNECTION_WINDOW_BYTES, STREAM_WINDOW_BYTES, Terms

WRITE_BUFFER_BYTES = 64 * 1024
"""Behind so much that the socket did not take, messages wait in their streams."""
READ_PAUSE_BYTES = 1024 * 1024
"""Who lets so much lie unread, answers to pings included, is not read from either."""
PREFACE_WITHIN_S = 10.0
KEEPALIVE_S = 30.0
KEEPALIVE_TIMEOUT_S = 10.0
UPLOAD_WITHIN_S = 60.0
"""How long a message may take to come in."""
LAST_BYTES_WITHIN_S = 60.0
"""How long a caller may take to read the end of a reply whose call is over."""
CLOSE_WITHIN_S = 10.0
RETIRE_WITHIN_S = 5.0
"""How long a caller may take to say that it heard the first of two farewells."""
AGE_GRACE_S = 600.0
LATE_S = 0.01
"""How long after a caller's deadline a call may end by itself, with the reason, before it is ended."""
KEEPALIVE_PING = b"alive?  "
RETIRING_PING = b"retiring"
MAX_CUT_COUNT = 1024
ANY = 2**32 - 1
RANGES: dict[int, tuple[int, int]] = {
    Setting.ENABLE_PUSH: (0, 1),
    Setting.INITIAL_WINDOW_SIZE: (0, frames.MAX_WINDOW_BYTES),
    Setting.MAX_FRAME_SIZE: (frames.MAX_FRAME_BYTES, 2**24 - 1),
}
"""Of settings that have one (RFC 9113 §6.5.2)."""


class Connection(asyncio.Protocol):
    """See the module.

    Args:
        terms: of the server.
        loop: that serves it.
    """

    sender: Sender

    def __init__(self, terms: Terms, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.peer = ""
        self.auth_context: Mapping[str, Any] = {}
        self.streams: dict[int, Stream] = {}
        self._terms = terms
        self._transport: Any = None
        self._frames = FrameReader(self)
        self._headers = HeaderReader()
        self._last = 0
        """Number of the caller's newest stream."""
        self._cut: dict[int, None] = {}
        """Streams that we ended before their callers did: something of them may be under way."""
        self._unwinding = 0
        """Calls that run although their caller is gone."""
        self._kept_bytes = 0
        """Of requests that are not complete."""
        self._received = 0
        """Bytes since the connection's window was last opened."""
        self._refusing = False
        self._retiring_s: float | None = None
        self._closing_s: float | None = None
        self._pinged_s: float | None = None
        self._born_s = self._read_s = self._idle_s = loop.time()
        self._guard = Guard(self._born_s)

    # What the loop tells

    def connection_made(self, transport: Any) -> None:
        """See `asyncio.Protocol`."""
        self._transport = transport
        self.sender = Sender(self.loop, transport, self.streams, self._done)
        tls = transport.get_extra_info("ssl_object")
        if (tls is not None and tls.selected_alpn_protocol() != "h2") or not self._terms.let_in(self):
            transport.abort()
            return
        transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)
        self.peer = peer_of(transport)
        if tls is not None:
            self.auth_context = auth_context_of(tls)

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self._terms.let_out(self)
        self._closing_s = self._closing_s or self.loop.time()
        self._drop_all()

    def pause_writing(self) -> None:
        """See `asyncio.Protocol`."""
        self.sender.paused = True

    def resume_writing(self) -> None:
        """See `asyncio.Protocol`."""
        self.sender.paused = False
        self._transport.resume_reading()
        self.sender.pump()

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        if self._closing_s is not None:
            return
        self._read_s = self.loop.time()
        try:
            self._frames.feed(data)
        except ConnectionFaultError as fault:
            if self._frames.greeted:
                self._transport.write(frames.goaway(self._last, fault.code, fault.why))
            elif headers.HTTP1.match(data):
                self._transport.write(headers.NOT_HTTP2)
            self._drop_all()
            self.close()
            return
        if self.sender.paused and self._transport.get_write_buffer_size() > READ_PAUSE_BYTES:
            self._transport.pause_reading()

    # What frames say: see `FrameSink`

    def greeting_came(self) -> None:
        """Answers with what a server says first; who does not speak HTTP/2 could not read it."""
        self._transport.write(self._terms.opening())

    def headers_came(self, number: int, block: bytes, *, ended: bool) -> None:
        """Opens a stream, or ends the caller's side of one."""
        if number <= self._last:
            self._trailers_came(number, block, ended=ended)
            return
        head = self._headers.read(block)
        self._last = number
        if self._refusing or len(self.streams) + self._unwinding >= self._terms.max_streams:
            self._transport.write(frames.reset(number, Code.REFUSED_STREAM))
            self.nothing_came()
            self._note_cut(number, ended=ended)
            return
        stream = Stream(number, head, self.sender.stream_window, self._read_s)
        stream.ended = ended
        self.streams[number] = stream
        if head.too_large:
            most = headers.MAX_METADATA_BYTES
            self.sender.end(stream, RESOURCE_EXHAUSTED, f"the metadata is larger than {most} bytes")
            return
        if head.timeout_s is not None:
            stream.timer = self.loop.call_later(head.timeout_s + LATE_S, self._overdue, stream)
        if not head.refusal and self._terms.calls.streams_requests(head.method):
            stream.messages = deque()
            self._start(stream, None)
        if ended:
            self._advance(stream)

    def data_came(self, number: int, content: bytes, size: int, *, ended: bool) -> None:
        """Takes a part of a message in."""
        self._received += size
        if self._received > CONNECTION_WINDOW_BYTES:
            raise ConnectionFaultError(Code.FLOW_CONTROL_ERROR, "more than the connection's window")
        if self._received >= CONNECTION_WINDOW_BYTES // 2:
            self._transport.write(frames.window_update(0, self._received))
            self._received = 0
        stream = self.streams.get(number)
        if stream is None or stream.ended:
            self._late(number)
            return
        stream.received += size
        if stream.received > STREAM_WINDOW_BYTES:
            raise ConnectionFaultError(Code.FLOW_CONTROL_ERROR, "more than the stream's window")
        stream.size += len(content)
        if not stream.head.refusal:
            stream.body += content
        stream.ended = ended
        if not content and not ended:
            self.nothing_came()
        self._advance(stream)

    def reset_came(self, number: int) -> None:
        """Ends a call whose caller took it back."""
        stream = self.streams.get(number)
        if stream is None:
            self._expect_opened(number)
            self.nothing_came()
            return
        if not stream.answered:
            self._guard.reset(self._read_s)
        self._drop(stream)

    def settings_came(self, values: Iterable[tuple[int, int]]) -> None:
        """Does as the peer wishes, and says so before it makes use of it. Of several values the last one counts."""
        wished: dict[int, int] = {}
        for key, value in values:
            low, high = RANGES.get(key, (0, ANY))
            if not low <= value <= high:
                code = Code.FLOW_CONTROL_ERROR if key == Setting.INITIAL_WINDOW_SIZE else Code.PROTOCOL_ERROR
                raise ConnectionFaultError(code, "a setting is out of its range")
            wished[key] = value
        if Setting.HEADER_TABLE_SIZE in wished:
            self.sender.forget_table()
        if Setting.INITIAL_WINDOW_SIZE in wished:
            self.sender.resize_streams(wished[Setting.INITIAL_WINDOW_SIZE])
        self._transport.write(frame(frames.SETTINGS, frames.ACK, 0))
        self.sender.pump()

    def ping_came(self, payload: bytes, *, answer: bool) -> None:
        """Answers a ping, or learns that the peer lives."""
        if not answer:
            self._guard.ping(self._read_s, sent=self.sender.sent_since_ping)
            self.sender.sent_since_ping = False
            self._transport.write(frame(frames.PING, frames.ACK, 0, payload))
        elif payload == KEEPALIVE_PING and self._pinged_s is not None:
            self._pinged_s = None
        elif payload == RETIRING_PING and self._retiring_s is not None and not self._refusing:
            self._refuse()
        else:
            self.nothing_came()

    def goaway_came(self) -> None:
        """Ends the connection with its last call."""
        self.nothing_came()
        self._refuse()

    def window_came(self, number: int, by: int) -> None:
        """Sends what waited for it."""
        if self.sender.updates_due > 0:
            self.sender.updates_due -= 1
        else:
            self.nothing_came()
        stream = self.streams.get(number)
        if not number:
            self.sender.widen(by)
        elif stream is not None:
            self.sender.widen_stream(stream, by)
        else:
            self._expect_opened(number)

    def nothing_came(self, cost: float = 1.0) -> None:
        """Counts it."""
        self._guard.nothing(self._read_s, cost)

    def _trailers_came(self, number: int, block: bytes, *, ended: bool) -> None:
        """Takes the caller's trailers, which say nothing in gRPC, as the end of its request."""
        self._headers.skip(block)
        stream = self.streams.get(number)
        if stream is None or stream.ended:
            self._late(number)
            return
        if not ended:
            raise ConnectionFaultError(Code.PROTOCOL_ERROR, "a second header block that ends nothing")
        stream.ended = True
        self._advance(stream)

    def _late(self, number: int) -> None:
        """Lets pass what was under way when we ended its stream."""
        if number not in self._cut:
            self._expect_opened(number)
            raise ConnectionFaultError(Code.STREAM_CLOSED, "a frame for a stream that has ended")
        self.nothing_came()

    def _expect_opened(self, number: int) -> None:
        if not number & 1 or number > self._last:
            raise ConnectionFaultError(Code.PROTOCOL_ERROR, "a frame for a stream that was never opened")

    # Requests

    def _advance(self, stream: Stream) -> None:
        """Does what can be done with what came in: waits for more, or starts the call."""
        head = stream.head
        if stream.ended and head.length is not None and head.length != stream.size:
            raise ConnectionFaultError(Code.PROTOCOL_ERROR, "a request is not as long as it says")
        try:
            if stream.messages is not None:
                self._hand_over(stream, stream.messages)
            elif not stream.ended:
                stream.check(self._terms.max_message_bytes)
                self._keep(stream)
                self._open_window(stream)
            elif head.refusal:
                self.sender.refuse_request(stream)
            elif stream.task is None:
                self._start(stream, stream.only_message(self._terms.max_message_bytes))
        except MessageError as error:
            if stream.task is not None:
                stream.task.cancel()
            accepted = headers.ACCEPTED if error.code == UNIMPLEMENTED else ()
            self.sender.end(stream, error.code, error.why, accepted)

    def _keep(self, stream: Stream) -> None:
        """Counts what is kept of a request that is not complete.

        Raises:
            MessageError: it is too much, together with the others.
        """
        more = len(stream.body) - stream.kept
        stream.kept += more
        self._kept_bytes += more
        if not self._terms.keep(more, self._kept_bytes):
            raise MessageError(RESOURCE_EXHAUSTED, "too many large requests are under way at once")

    def _keep_no_longer(self, stream: Stream) -> None:
        self._kept_bytes -= stream.kept
        self._terms.kept_bytes -= stream.kept
        stream.kept = 0

    def _start(self, stream: Stream, message: bytes | None) -> None:
        self._keep_no_longer(stream)
        stream.task = self.loop.create_task(self._terms.calls.run(self, stream, message))

    def _hand_over(self, stream: Stream, messages: deque[bytes]) -> None:
        while (message := stream.message(self._terms.max_message_bytes)) is not None:
            messages.append(message)
        if stream.ended and stream.body:
            raise MessageError(INTERNAL, "the request ends in the middle of a message")
        if not messages:
            self._open_window(stream)
        if stream.more is not None and not stream.more.done():
            stream.more.set_result(None)

    async def next_message(self, stream: Stream) -> bytes | None:
        """Returns the next message of a request that streams; None behind the last one."""
        messages = stream.messages
        while not messages:
            if messages is None or stream.ended:
                return None
            self._open_window(stream)
            stream.more = self.loop.create_future()
            await stream.more
        return messages.popleft()

    def _open_window(self, stream: Stream) -> None:
        if stream.received >= STREAM_WINDOW_BYTES // 2 and not stream.ended and stream.number in self.streams:
            self._transport.write(frames.window_update(stream.number, stream.received))
            stream.received = 0

    # How streams end

    def cut(self, stream: Stream, code: Code) -> None:
        """Resets a stream: its caller gets neither rest nor status."""
        if stream.number in self.streams:
            self._transport.write(frames.reset(stream.number, code))
            self._note_cut(stream.number, ended=stream.ended)
            self._drop(stream)

    def _done(self, stream: Stream) -> None:
        """Forgets a stream whose end was sent."""
        if not stream.ended:  # the rest of the request is not wanted (RFC 9113 §8.1)
            self._transport.write(frames.reset(stream.number, Code.NO_ERROR))
            self._note_cut(stream.number, ended=False)
        self._forget(stream)

    def _drop(self, stream: Stream) -> None:
        """Forgets a stream whose caller is gone, and ends its call."""
        self._forget(stream)
        task = stream.task
        if task is not None and not task.done():
            self._unwinding += 1
            task.add_done_callback(self._unwound)
            task.cancel()

    def _drop_all(self) -> None:
        for stream in list(self.streams.values()):
            self._drop(stream)

    def _forget(self, stream: Stream) -> None:
        self.streams.pop(stream.number, None)
        self._keep_no_longer(stream)
        self.sender.forget(stream)
        if stream.timer is not None:
            stream.timer.cancel()
        if not self.streams:
            self._idle_s = self.loop.time()
            if self._refusing:
                self.close()

    def _unwound(self, _task: asyncio.Task[Any]) -> None:
        self._unwinding -= 1

    def _note_cut(self, number: int, *, ended: bool) -> None:
        if not ended:
            self._cut[number] = None
            if len(self._cut) > MAX_CUT_COUNT:
                del self._cut[next(iter(self._cut))]

    def _overdue(self, stream: Stream) -> None:
        """Ends a call whose deadline passed."""
        if stream.number in self.streams:
            stream.overdue = True
            self._end_call(stream, DEADLINE_EXCEEDED, "the deadline passed before the call began")

    def _end_call(self, stream: Stream, code: int, why: str) -> None:
        """Ends a call from outside; one that runs says itself how it ends (`calls`)."""
        task = stream.task
        if not stream.running:
            self.sender.end(stream, code, why)
        elif task is not None and task.done():  # its last bytes wait for a caller who does not read
            self.cut(stream, Code.CANCEL)
        if task is not None:
            task.cancel()

    # How the connection ends

    def tick(self, now_s: float) -> None:
        """Does what time asks for: called every few seconds with the loop's time."""
        if self._closing_s is not None:
            if now_s - self._closing_s > CLOSE_WITHIN_S:
                self.abort()
        elif not self._alive(now_s):
            self.abort()
        else:
            for stream in list(self.streams.values()):
                if stream.ending_s and now_s - stream.ending_s > LAST_BYTES_WITHIN_S:
                    self.cut(stream, Code.CANCEL)
                elif stream.task is None and now_s - stream.began_s > UPLOAD_WITHIN_S:
                    self.sender.end(stream, DEADLINE_EXCEEDED, f"the request took longer than {UPLOAD_WITHIN_S:g} s")
            self._grow_old(now_s)

    def _alive(self, now_s: float) -> bool:
        """Asks a silent peer for a sign of life, and tells whether it may go on."""
        if not self._frames.greeted:
            return now_s - self._born_s <= PREFACE_WITHIN_S
        if self._pinged_s is not None:
            return now_s - self._pinged_s <= KEEPALIVE_TIMEOUT_S
        if now_s - self._read_s > KEEPALIVE_S:
            self._pinged_s = now_s
            self._transport.write(frame(frames.PING, 0, 0, KEEPALIVE_PING))
        return True

    def _grow_old(self, now_s: float) -> None:
        terms, age_s = self._terms, now_s - self._born_s
        if age_s > terms.max_age_s or (not self.streams and now_s - self._idle_s > terms.max_idle_s):
            self.retire(now_s)
        if self._retiring_s is not None and now_s - self._retiring_s > RETIRE_WITHIN_S:
            self._refuse()
        if age_s > terms.max_age_s + AGE_GRACE_S:
            self.end_calls()

    def retire(self, now_s: float) -> None:
        """Asks the caller to go elsewhere, and takes no new calls once it has heard of it (RFC 9113 §6.8)."""
        if self._retiring_s is not None or self._closing_s is not None:
            return
        self._retiring_s = now_s
        if not self._frames.greeted:
            self.abort()
            return
        self._transport.write(frames.goaway(frames.STREAM_BITS, Code.NO_ERROR))
        self._transport.write(frame(frames.PING, 0, 0, RETIRING_PING))

    def end_calls(self) -> None:
        """Ends every call that still runs, and then the connection."""
        self._refuse()
        for stream in list(self.streams.values()):
            self._end_call(stream, UNAVAILABLE, "the server stops")

    def close(self) -> None:
        """Closes the connection once what was written has left.

        Only our half of it, where that can be told apart: who closes while the peer still sends resets the connection,
        and the peer may lose what we said last (RFC 9113 §5.4.1). The peer's half ends with it, or is cut in `tick`.
        """
        if self._closing_s is not None:
            return
        self._closing_s = self.loop.time()
        self._frames.stop()
        self._terms.leave(self)
        if not self._transport.can_write_eof():
            self.loop.call_soon(self._transport.close)  # not inside a callback of the transport itself
            return
        try:
            self._transport.write_eof()
        except OSError:  # the peer is gone already
            self._transport.abort()

    def abort(self) -> None:
        """Closes the socket at once."""
        self._transport.abort()

    def _refuse(self) -> None:
        if not self._refusing and self._closing_s is None:
            self._refusing = True
            self._transport.write(frames.goaway(self._last, Code.NO_ERROR))
            if not self.streams:
                self.close()
