"""One HTTP/1.1 response while it arrives: framing by `httptools` (llhttp in its strict mode), bounds by us."""

from __future__ import annotations

import httptools

from llmgateway_server.providers.wire.port import WireError, WireLimits, WireMalformed, WireReset, WireTooLarge


class Response:
    """What has arrived of a response; it is fed by the connection and read by the exchange.

    Args:
        limits: its caps of head and body are applied while parsing, so that nothing larger is ever kept.
        is_head: whether the request was HEAD, whose response has no body whatever its head says.
    """

    __slots__ = (
        "_body_bytes",
        "_framing_bytes",
        "_head_bytes",
        "_informational",
        "_is_head",
        "_limits",
        "_parser",
        "_trailer_bytes",
        "_until_eof",
        "chunks",
        "coded",
        "complete",
        "error",
        "head_done",
        "headers",
        "keep_alive",
        "overrun",
        "ready_bytes",
        "status",
    )

    def __init__(self, limits: WireLimits, is_head: bool) -> None:
        self._limits = limits
        self._is_head = is_head
        self._parser: httptools.HttpResponseParser | None = httptools.HttpResponseParser(self)
        self._informational = False
        self._until_eof = False
        self._head_bytes = 0
        self._body_bytes = 0
        self._framing_bytes = 0
        self._trailer_bytes = 0
        self.status = 0
        self.headers: dict[str, str] = {}
        self.head_done = False
        """Whether the final head is parsed and its framing accepted."""
        self.complete = False
        """Whether the framing says that the response is whole; from then on there is no error."""
        self.error: WireError | None = None
        """Why the response will never be complete."""
        self.keep_alive = False
        self.overrun = False
        """Whether bytes followed the end of the response; the connection is then useless."""
        self.coded = False
        """Whether the body has a content coding, which nobody asked for."""
        self.chunks: list[bytes] = []
        """Body bytes that nobody has read yet."""
        self.ready_bytes = 0

    def feed(self, data: memoryview) -> None:
        """Parses `data`, which may be reused afterwards; look at `complete`, `error` and `chunks` for the outcome."""
        if self.complete:
            self.overrun = True
        if self.complete or self.error is not None:
            return
        in_head, ready_before = not self.head_done, self.ready_bytes
        try:
            self._parse(data)
        except httptools.HttpParserError as error:  # HttpParserUpgrade is one too
            self._refuse(error)
        else:
            brought = self.ready_bytes - ready_before
            self._body_bytes += brought
            self._check_bounds(0 if in_head else len(data), brought > 0)

    def eof(self) -> None:
        """Ends a body that is delimited by the end of the connection; for all else the end is a cut."""
        if self.head_done and self._until_eof and self.error is None:
            self.complete = True
        else:
            self.fail(WireReset(headers_received=self.head_done))

    def fail(self, error: WireError) -> None:
        """Records the first error of a response that is not complete."""
        if self.error is None and not self.complete:
            self.error = error

    def take(self) -> bytes:
        """Returns the body bytes that nobody has read yet, `b""` if there are none."""
        chunks = self.chunks
        if not chunks:
            return b""
        self.chunks = []
        self.ready_bytes = 0
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def close(self) -> None:
        """Lets the parser go: it holds our bound methods, and the cycle would be left to the collector."""
        self._parser = None

    def _parse(self, data: memoryview) -> None:
        """Feeds the parser so that no more than the cap is ever taken for a head, exact to the byte."""
        parser = self._parser
        if parser is None:
            return
        if self.head_done:
            parser.feed_data(data)
            return
        room = self._limits.max_header_bytes - self._head_bytes
        first = data[:room]
        self._head_bytes += len(first)
        parser.feed_data(first)
        if len(data) > room:
            self._parse_beyond(parser, data[room:])

    def _parse_beyond(self, parser: httptools.HttpResponseParser, data: memoryview) -> None:
        if self.head_done:
            parser.feed_data(data)
        else:
            self.fail(WireTooLarge("response head is larger than max_header_bytes"))

    def _refuse(self, error: httptools.HttpParserError) -> None:
        if self.complete:
            self.overrun = True
        else:
            self.fail(WireMalformed(f"response is not HTTP/1.1: {error}"))

    def _check_bounds(self, nbytes: int, had_body: bool) -> None:
        if self.complete:
            return
        if self._body_bytes > self._limits.max_body_bytes:
            self.fail(WireTooLarge("response body is larger than max_body_bytes"))
        elif had_body:
            self._framing_bytes = 0
        else:  # chunk extensions and trailers without end bring no body
            self._framing_bytes += nbytes
            if self._framing_bytes > self._limits.max_header_bytes:
                self.fail(WireTooLarge("chunk framing or trailers are larger than max_header_bytes"))

    # --- callbacks of the parser --------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """Notes a second message: what follows a complete response is ignored, the connection not used again."""
        if self.complete:
            self.overrun = True

    def on_header(self, name: bytes, value: bytes) -> None:
        """Collects a header; trailers are counted and dropped (RFC 9110 section 6.5.1)."""
        if self.complete:
            return
        if self.head_done:
            self._trailer_bytes += len(name) + len(value) + 4
            if self._trailer_bytes > self._limits.max_header_bytes:
                self.fail(WireTooLarge("trailers are larger than max_header_bytes"))
            return
        key = name.decode("latin-1").lower()
        text = value.decode("latin-1").strip(" \t")
        headers = self.headers
        headers[key] = f"{headers[key]}, {text}" if key in headers else text

    def on_headers_complete(self) -> None:
        """Decides the framing (RFC 9112 section 6.3); what two readers could frame differently is refused."""
        parser = self._parser
        if parser is None or self.complete:
            return
        status, headers = parser.get_status_code(), self.headers
        if not 100 <= status <= 599 or status == 101 or parser.get_http_version() not in ("1.1", "1.0"):
            self.fail(WireMalformed("response has an impossible status or version"))
            return
        if status < 200:
            self._informational = True
            self.headers = {}
            return
        coding, length = headers.get("transfer-encoding"), headers.get("content-length")
        if coding is not None and (length is not None or coding.lower() != "chunked"):
            self.fail(WireMalformed("response has contradicting or unknown framing"))
            return
        bodiless = self._is_head or status in (204, 304)
        if length is not None and not bodiless and int(length) > self._limits.max_body_bytes:
            self.fail(WireTooLarge("response body is announced larger than max_body_bytes"))
            return
        self.status = status
        self.keep_alive = parser.should_keep_alive()
        self.head_done = True
        if bodiless:
            self.complete = True  # the parser, which knows nothing of HEAD, may wait for a body
            return
        self._until_eof = coding is None and length is None
        self.coded = headers.get("content-encoding", "").lower() not in ("", "identity")

    def on_body(self, body: bytes) -> None:
        """Keeps body bytes for `take`."""
        if self.complete:
            self.overrun = True
        elif self.head_done:
            self.chunks.append(body)
            self.ready_bytes += len(body)

    def on_message_complete(self) -> None:
        """Ends the response; an informational one only makes room for the next."""
        if self._informational:
            self._informational = False
        elif self.head_done and self.error is None:
            self.complete = True
