"""One stream: the message that comes in, and what waits to go out."""

from __future__ import annotations

import asyncio
import zlib
from collections import deque
from typing import Any

from llmgateway_server.transport.http2.headers import RequestHead
from llmgateway_server.transport.http2.status import INTERNAL, RESOURCE_EXHAUSTED, UNIMPLEMENTED

MESSAGE_HEAD_BYTES = 5
"""A flag for compression and the length (PROTOCOL-HTTP2.md, Length-Prefixed-Message)."""
WINDOW_BITS = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}


class MessageError(Exception):
    """What came in is no message that can be taken.

    Args:
        code: status of gRPC.
        why: in words of ours.
    """

    def __init__(self, code: int, why: str) -> None:
        super().__init__(why)
        self.code = code
        self.why = why


ONE_MESSAGE = "the request does not consist of one message"


class Stream:
    """State of one stream; the connection moves its bytes.

    Args:
        number: odd, as callers' are.
        head: what it asks for.
        window: bytes that may be sent before the caller opens it further.
        began_s: monotonic time.
    """

    __slots__ = (
        "answered",
        "began_s",
        "body",
        "ended",
        "ending_s",
        "flushed",
        "head",
        "kept",
        "messages",
        "more",
        "number",
        "overdue",
        "pending",
        "received",
        "running",
        "size",
        "task",
        "timer",
        "trailers",
        "window",
    )

    def __init__(self, number: int, head: RequestHead, window: int, began_s: float) -> None:
        self.number = number
        self.head = head
        self.window = window
        self.began_s = began_s
        self.body = bytearray()
        self.size = 0
        """Bytes of the body so far."""
        self.kept = 0
        """Bytes of it that count as kept for a request that is not complete."""
        self.received = 0
        """Bytes since the caller's window was last opened."""
        self.ended = False
        """Whether the caller has sent everything."""
        self.messages: deque[bytes] | None = None
        """Of a call whose request streams."""
        self.more: asyncio.Future[None] | None = None
        """Who waits for the next of them."""
        self.pending: deque[memoryview] = deque()
        """Bytes of messages that no window has room for yet."""
        self.trailers: bytes | None = None
        """The block that ends it, behind what is pending."""
        self.ending_s = 0.0
        """Since when only its last bytes are waited for; 0 before that."""
        self.answered = False
        """Whether headers were sent."""
        self.flushed: asyncio.Future[None] | None = None
        """Who waits until nothing is pending."""
        self.running = False
        """Whether its call has begun; before, nobody is there who could end it."""
        self.overdue = False
        """Whether the caller's deadline passed."""
        self.task: asyncio.Task[Any] | None = None
        self.timer: asyncio.TimerHandle | None = None

    def check(self, max_bytes: int) -> None:
        """Looks at a request of one message while it comes in.

        Raises:
            MessageError: it will be too large, or there is more than one.
        """
        body = self.body
        if len(body) >= MESSAGE_HEAD_BYTES:
            size = int.from_bytes(body[1:MESSAGE_HEAD_BYTES], "big")
            if size > max_bytes:
                raise MessageError(RESOURCE_EXHAUSTED, f"the message is larger than {max_bytes} bytes")
            if len(body) > MESSAGE_HEAD_BYTES + size:
                raise MessageError(INTERNAL, ONE_MESSAGE)

    def only_message(self, max_bytes: int) -> bytes:
        """Takes the message of a request that has ended.

        Raises:
            MessageError: as `message`, or there is none or more than one.
        """
        message = self.message(max_bytes)
        if message is None or self.body:
            raise MessageError(INTERNAL, ONE_MESSAGE)
        return message

    def message(self, max_bytes: int) -> bytes | None:
        """Takes the next whole message out of what came in; None where there is none yet.

        Raises:
            MessageError: it is too large, or compressed in a way that we do not know.
        """
        body = self.body
        if len(body) < MESSAGE_HEAD_BYTES:
            return None
        size = int.from_bytes(body[1:MESSAGE_HEAD_BYTES], "big")
        if size > max_bytes:
            raise MessageError(RESOURCE_EXHAUSTED, f"the message is larger than {max_bytes} bytes")
        end = MESSAGE_HEAD_BYTES + size
        if len(body) < end:
            return None
        data = bytes(memoryview(body)[MESSAGE_HEAD_BYTES:end])
        compressed = body[0]
        if compressed > 1:
            raise MessageError(INTERNAL, "the message is neither compressed nor plain")
        if len(body) == end:
            self.body = bytearray()
        else:
            del body[:end]
        return _inflated(data, self.head.encoding, max_bytes) if compressed else data


def _inflated(data: bytes, encoding: str, max_bytes: int) -> bytes:
    bits = WINDOW_BITS.get(encoding)
    if bits is None:
        raise MessageError(UNIMPLEMENTED if encoding != "identity" else INTERNAL, "the compression is not known")
    inflater = zlib.decompressobj(bits)
    try:
        found = inflater.decompress(data, max_bytes + 1)
    except zlib.error:
        raise MessageError(INTERNAL, "the message cannot be decompressed") from None
    if len(found) > max_bytes:
        raise MessageError(RESOURCE_EXHAUSTED, f"the message is larger than {max_bytes} bytes")
    if not inflater.eof or inflater.unused_data:
        raise MessageError(INTERNAL, "the message cannot be decompressed")
    return found


def framed(message: bytes) -> bytes:
    """Returns a message with its head, uncompressed."""
    return b"\x00" + len(message).to_bytes(4, "big") + message
