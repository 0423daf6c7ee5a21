"""A JSON document per line (NDJSON), from bytes cut anywhere.

Source: https://github.com/ndjson/ndjson-spec
"""

from __future__ import annotations

from llmgateway_server.providers.dialects.framing import Framed
from llmgateway_server.providers.dialects.sse import MAX_EVENT_BYTES
from llmgateway_server.providers.faults import malformed


class LineDecoder:
    """Collects lines that end with LF or CRLF; empty ones are passed over.

    Args:
        max_line_bytes: a line with more bytes before its LF is refused.
    """

    __slots__ = ("_max_line", "_rest")

    def __init__(self, max_line_bytes: int = MAX_EVENT_BYTES) -> None:
        self._max_line = max_line_bytes
        self._rest = bytearray()

    def feed(self, chunk: bytes) -> Framed:
        """See `framing.Framing`."""
        *lines, unfinished = chunk.split(b"\n")
        if lines and self._rest:
            lines[0] = bytes(self._rest) + lines[0]
            self._rest.clear()
        self._rest += unfinished  # grows in place: one-byte reads of a long line stay linear
        if max(map(len, [*lines, self._rest])) > self._max_line:
            raise malformed("line over its cap")
        return [(b"", document) for line in lines if (document := line.strip())]

    def end(self) -> Framed:
        """The last line may lack its end: whether it is a whole document, the dialect can tell."""
        line = bytes(self._rest).strip()
        self._rest.clear()
        return [(b"", line)] if line else []
