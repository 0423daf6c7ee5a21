"""The elements of one JSON array that arrives in pieces: what Gemini streams where events are not asked for.

Elements are objects. Only strings, escapes and brackets are looked at here; the dialect decodes what is between them.
"""

from __future__ import annotations

import re
from typing import TypeVar

from llmgateway_server.providers.dialects.framing import Framed
from llmgateway_server.providers.dialects.sse import MAX_EVENT_BYTES
from llmgateway_server.providers.faults import malformed

T = TypeVar("T", bytes, bytearray)

OUTSIDE = re.compile(rb'["{}\[\]]')
INSIDE = re.compile(rb'["\\]')


class JsonArrayDecoder:
    """Collects the elements of an array, each from its opening to its closing brace.

    Args:
        max_element_bytes: a longer element is refused.
    """

    __slots__ = ("_at", "_closed", "_depth", "_element", "_in_string", "_max_element", "_opened", "_rest")

    def __init__(self, max_element_bytes: int = MAX_EVENT_BYTES) -> None:
        self._max_element = max_element_bytes
        self._rest = bytearray()
        """What was not handed out yet."""
        self._at = 0
        """How much of it was looked at."""
        self._element = -1
        """Where the open element begins; -1 between elements."""
        self._depth = 0
        """Brackets that are open inside the element, its own included."""
        self._in_string = False
        self._opened = self._closed = False

    def feed(self, chunk: bytes) -> Framed:
        """See `framing.Framing`."""
        if self._closed:
            return []  # whatever follows the array is not looked at
        self._rest += chunk
        found: Framed = []
        while (place := self._next()) is not None:
            self._step(place, found)
        handed_out = self._at if self._element < 0 else self._element
        del self._rest[:handed_out]
        self._at -= handed_out
        self._element = min(0, self._element)
        self._within_cap(self._rest)
        return found

    def end(self) -> Framed:
        """A body that ends before its array does was cut."""
        if not self._closed:
            raise malformed("body ended inside its array")
        return []

    def _next(self) -> int | None:
        """Returns the next place that means something, and moves behind it; None where more bytes are needed."""
        found = (INSIDE if self._in_string else OUTSIDE).search(self._rest, self._at)
        if found is None:
            self._at = len(self._rest)
            return None
        place = found.start()
        if self._rest[place] == 0x5C:  # a backslash takes the next byte with it
            if place + 1 >= len(self._rest):
                self._at = place
                return None
            self._at = place + 2
        else:
            self._at = place + 1
        return place

    def _step(self, place: int, found: Framed) -> None:
        match self._rest[place : place + 1]:
            case b'"' if self._element >= 0:
                self._in_string = not self._in_string
            case b"{" | b"[" if self._element >= 0:
                self._depth += 1
            case b"}" | b"]" if self._element >= 0:
                self._depth -= 1
                if not self._depth:
                    found.append((b"", self._within_cap(bytes(self._rest[self._element : self._at]))))
                    self._element = -1
            case b"{" if self._opened:
                self._element, self._depth = place, 1
            case b"[" if not self._opened:
                self._opened = True
            case b"]" if self._opened:
                self._closed = True
                self._at = len(self._rest)
            case b"\\":
                pass
            case _:
                raise malformed("stream is not an array of objects")

    def _within_cap(self, element: T) -> T:
        if len(element) > self._max_element:
            raise malformed("element of an array over its cap")
        return element
