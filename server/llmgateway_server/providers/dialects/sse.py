"""Server-sent events from bytes cut anywhere.

Source: https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing
"""

from __future__ import annotations

from llmgateway_server.core.errors import UpstreamError
from llmgateway_server.providers.dialects.framing import Framed, Framings
from llmgateway_server.providers.faults import malformed

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
MAX_LINE_BYTES = 1024 * 1024
MAX_EVENT_BYTES = 4 * 1024 * 1024
"""Bounds of a line and of an event, see `docs/reliability.md`."""
DATA = b"data: "
BORDER_AND_DATA = b"\n\ndata: "
LINE_BYTES = 64
"""What keeping a line costs beside its data; it counts, or an event of empty lines would have no bound."""


class SseDecoder:
    """Collects the data of events; lines end with LF, CR or CRLF, each also across reads.

    Args:
        max_line_bytes: a longer line is refused.
        max_event_bytes: an event with more data is refused.
    """

    __slots__ = ("_data", "_data_bytes", "_event", "_first", "_max_event", "_max_line", "_rest", "_skip_lf")

    def __init__(self, max_line_bytes: int = MAX_LINE_BYTES, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._max_line = max_line_bytes
        self._max_event = max_event_bytes
        self._rest = bytearray()
        self._skip_lf = False
        self._first = True
        self._event = b""
        self._data: list[bytes] = []
        self._data_bytes = 0

    def feed(self, chunk: bytes) -> Framed:
        """Returns the events that `chunk` completes, as (event name, data); comments and other fields are ignored.

        Raises:
            UpstreamError: UPSTREAM_MALFORMED, a line or an event is too long.
        """
        if self._first and not self._rest and chunk and chunk[:1] != BYTE_ORDER_MARK[:1]:
            self._first = False  # nothing to drop, so that the usual first chunk, often a long one, is read fast, too
        border = chunk.rfind(b"\n\n")
        if border >= 0 and self._at_border() and b"\r" not in chunk:
            text = bytes(self._rest) + chunk[:border]
            self._rest.clear()
            return self._plain_events(text) + self._feed_lines(chunk[border + 2 :])
        return self._feed_lines(chunk)

    def _at_border(self) -> bool:
        """Tells whether no event is half read, an unfinished line aside."""
        return not (self._first or self._skip_lf or self._data or self._event)

    def _plain_events(self, text: bytes) -> Framed:
        """Reads complete events whose lines end with LF: nearly all there are, and nearly always of one line each."""
        if text[:6] == DATA:
            parts = text[6:].split(BORDER_AND_DATA)
            if text.count(b"\n") == 2 * (len(parts) - 1):  # one line of data each, and nothing else
                if len(max(parts, key=len)) > self._max_line - len(DATA):
                    raise self._too_long("line")
                return [(b"", part) for part in parts]
        events = []
        for block in text.split(b"\n\n"):
            events += self._events([*block.split(b"\n"), b""])
        return events

    def _feed_lines(self, chunk: bytes) -> Framed:
        """Reads whatever came, line by line."""
        if self._skip_lf and chunk:
            self._skip_lf = False
            if chunk[:1] == b"\n":
                chunk = chunk[1:]
        if not chunk:
            return []
        lines = chunk.splitlines(keepends=True)  # of bytes: splits at LF, CR and CRLF only
        if lines[-1][-1:] not in (b"\n", b"\r"):
            unfinished = lines.pop()
        else:
            unfinished = b""
            self._skip_lf = chunk[-1:] == b"\r"
        if lines and self._rest:
            lines[0] = bytes(self._rest) + lines[0]
            self._rest.clear()
        if unfinished:
            self._rest += unfinished  # grows in place: one-byte reads of a long line stay linear
            if len(self._rest) > self._max_line:
                raise self._too_long("line")
        return self._events(lines)

    def _events(self, lines: list[bytes]) -> Framed:
        events = []
        for raw in lines:
            line = raw.rstrip(b"\r\n")
            if self._first:
                self._first = False
                line = line.removeprefix(BYTE_ORDER_MARK)
            if len(line) > self._max_line:
                raise self._too_long("line")
            if not line:
                if self._data:
                    events.append((self._event, b"\n".join(self._data) if len(self._data) > 1 else self._data[0]))
                    self._data.clear()
                    self._data_bytes = 0
                self._event = b""
            elif line.startswith(b"data:"):
                self._keep(line[6:] if line[5:6] == b" " else line[5:])
            elif line.startswith(b"event:"):
                self._event = line[6:].strip()
            elif line == b"data":
                self._keep(b"")
        return events

    def _keep(self, data: bytes) -> None:
        if self._data:
            self._data_bytes += LINE_BYTES
        self._data_bytes += len(data)
        if self._data_bytes > self._max_event:
            raise self._too_long("event")
        self._data.append(data)

    def end(self) -> Framed:
        """Returns the event that the end of the body completes.

        The standard drops an event without its blank line; some vendors end their bodies so, and what it holds is then
        judged by the dialect, which knows its own terminator.
        """
        line = bytes(self._rest)
        self._rest.clear()
        return self._events([line, b""] if line else [b""])

    def _too_long(self, what: str) -> UpstreamError:
        return malformed(f"server-sent {what} over its cap")


SERVER_SENT_EVENTS: Framings = {"text/event-stream": SseDecoder}
"""The framing of most dialects."""
