"""A provider that speaks a dialect over HTTP: encode, exchange, decode. One attempt, no retry."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import NamedTuple, Self

from llmgateway_server.core.calls import Attempt, Call
from llmgateway_server.core.clock import Clock
from llmgateway_server.core.errors import UpstreamError
from llmgateway_server.core.events import Event, Finished, FinishReason, Started, TokensCounted
from llmgateway_server.core.messages import MediaPart, ToolResultPart
from llmgateway_server.core.reply import Batch, Opened, Reply
from llmgateway_server.core.requests import CompleteRequest, CountTokensRequest, Operation
from llmgateway_server.core.secret import Secret
from llmgateway_server.core.targets import Model
from llmgateway_server.providers.dialects.dialect import Dialect, HeaderReader, Quirks
from llmgateway_server.providers.dialects.framing import framing_for
from llmgateway_server.providers.dialects.stream import EventStream
from llmgateway_server.providers.drain import LEFT, Drainer
from llmgateway_server.providers.egress.fetch import Egress
from llmgateway_server.providers.faults import malformed, wire_error
from llmgateway_server.providers.keys import Key, KeyRing
from llmgateway_server.providers.media import with_media_inline
from llmgateway_server.providers.tokens.count import count_input
from llmgateway_server.providers.wire.port import Headers, Wire, WireError, WireProgress, WireRequest, WireResponse

MAX_ERROR_BODY_BYTES = 64 * 1024
ERROR_BODY_S = 2.0
"""How long the body of an error may take; after that its status is all that is known."""
MAX_ANSWER_BYTES = 32 * 1024 * 1024
"""Largest unary answer (docs/reliability.md)."""
MAY_BE_MEDIA = (MediaPart, ToolResultPart)
DRAIN_S = 0.1
"""How long the end of a body may take after the dialect's last event, so that its connection can be used again."""


@dataclass(slots=True, frozen=True)
class Account:
    """What an HTTP provider is made of."""

    name: str
    vendor: str
    region: str
    """Where its models run; empty for vendors that are in one place."""
    locate: Callable[[str, str], str]
    """Returns the request target for a dialect's path and an upstream model."""
    quirks: Quirks
    dialects: tuple[Dialect, ...]
    """Those that the vendor speaks; a target that names none gets the first."""
    counting_dialect: str = ""
    """The dialect whose endpoint counts tokens for all models; empty: each dialect's own, if it has one."""
    models: tuple[Model, ...] = ()
    check_path: str = ""
    """What can be asked for without cost, behind the prefix; empty: nothing."""
    check_headers: Headers = ()
    """Beside the key, for that question."""


class Used(NamedTuple):
    """The key that a request carries, and its secret at that time."""

    key: Key
    secret: Secret


class HttpProvider:
    """An upstream account behind its dialects.

    Args:
        account: names and quirks.
        wire: connections to the account's origin; closed with the provider.
        keys: the credentials.
        egress: fetches media that the vendor cannot fetch.
        clock: wall time for `retry-after` dates.
        drainer: reads streams on that their callers left; None where the vendor stops then.
    """

    def __init__(
        self,
        account: Account,
        wire: Wire,
        keys: KeyRing,
        egress: Egress,
        clock: Clock,
        *,
        drainer: Drainer | None = None,
    ) -> None:
        self.name = account.name
        self.vendor = account.vendor
        self.region = account.region
        self.operations = frozenset({Operation.COUNT_TOKENS}.union(*(each.operations for each in account.dialects)))
        self._account = account
        self._dialects = {dialect.name: dialect for dialect in account.dialects}
        self._header_readers = {each.name: each for each in account.dialects if isinstance(each, HeaderReader)}
        self._wire = wire
        self._keys = keys
        self._egress = egress
        self._clock = clock
        self._drainer = drainer

    @property
    def reachable_for_free(self) -> bool:
        """Whether the vendor has something that can be asked for without cost; see `reach`."""
        return bool(self._account.check_path)

    def models(self) -> tuple[Model, ...]:
        """Returns the models of the vendor's row."""
        return self._account.models

    def warm_up(self) -> None:
        """Begins to fetch the tokens of its credentials, so that no call waits for them."""
        self._keys.warm_up()

    async def aclose(self) -> None:
        """Closes the connections, and ends the renewing of tokens."""
        await self._keys.aclose()
        await self._wire.aclose()

    def open(self, attempt: Attempt) -> Opened:
        """See `Provider.open`."""
        return _HttpReply(self, attempt, self._drainer)

    async def reach(self, attempt: Attempt) -> None:
        """Asks for what costs nothing, with the key whose turn it is, and looks at the status of the answer alone.

        A key that is refused is not set aside: it may be one that is good for answers and not for this.

        Args:
            attempt: in whose record it is noted what was sent; what its call asks for is not.

        Raises:
            UpstreamError: nobody answers, or with another status than 200.
        """
        headers = (("accept", "application/json"), *self._account.check_headers)
        request = WireRequest("GET", self._account.check_path, headers)
        asked = Asked(attempt, self._wire, request, await self._with_key(attempt, request))
        response = await asked.enter()
        try:
            if response.status != 200:
                raise await self._refusal(self._account.dialects[0], response)
        finally:
            await asked.leave(None)

    async def ask(self, attempt: Attempt) -> tuple[Reply, Asked | None]:
        """Sends an attempt and returns its reply, and the exchange that must be left after it.

        Raises:
            UpstreamError: as `Provider.open`.
        """
        dialect = self._dialect(attempt)
        if attempt.call.operation not in dialect.operations:  # only tokens can be counted without asking
            return _OneBatch(await _counted_here(attempt)), None
        if (completion := _completion_of(attempt.call)) is not None and _may_hold_media(completion):
            await self._fetch_media(attempt.call, completion, dialect)
        request = dialect.encode_request(attempt, self._account.quirks)
        asked = Asked(attempt, self._wire, request, await self._with_key(attempt, request))
        response = await asked.enter()
        try:
            if response.status != 200:
                error = await self._refusal(dialect, response)
                if asked.used is not None:
                    key, secret = asked.used
                    error.another_key = self._keys.refused(key, error.reason, error.retry_after_s, secret)
                raise error
            if attempt.call.streaming:
                return self._stream(attempt, dialect, response), asked
            body = await _whole_body(response)
            return _OneBatch(self._whole(attempt, dialect, response, body)), asked
        except WireError as error:
            await asked.leave(error)
            raise wire_error(error) from error
        except BaseException as error:
            await asked.leave(error)
            raise

    async def _fetch_media(self, call: Call, completion: CompleteRequest, dialect: Dialect) -> None:
        """Puts media into the call's request that the vendor cannot fetch; another target finds them there."""
        filled = await with_media_inline(
            completion,
            lambda media: not dialect.fetches(media),
            self._egress,
            deadline_s=math.inf,  # the attempt's own timer ends it, with its own reason
        )
        if filled is not completion:
            call.request = CountTokensRequest(filled) if isinstance(call.request, CountTokensRequest) else filled

    def _dialect(self, attempt: Attempt) -> Dialect:
        target, request = attempt.target, attempt.call.request
        name = target.dialect
        if attempt.call.operation is Operation.COUNT_TOKENS:
            name = self._account.counting_dialect or name
        elif not name and isinstance(request, CompleteRequest) and request.tools:
            name = target.profile.tools_dialect
        return self._dialects.get(name, self._account.dialects[0])

    async def _with_key(self, attempt: Attempt, request: WireRequest) -> Used | None:
        """Puts the account's path and the key whose turn it is into a request.

        Raises:
            UpstreamError: the key's token cannot be had.
        """
        request.path = self._account.locate(request.path, attempt.target.upstream_model)
        key = self._keys.choose()
        if key is None:
            return None
        attempt.record.key_id = key.key_id
        secret = key.secret if key.secret is not None else await self._keys.secret_of(key)
        request.headers += key.authorize(request, secret)
        return Used(key, secret)

    def _whole(self, attempt: Attempt, dialect: Dialect, response: WireResponse, body: bytes) -> list[Event]:
        reader = self._header_readers.get(dialect.name)
        if reader is None:
            return dialect.decode_reply(attempt, self._account.quirks, body)
        return reader.decode_answer(attempt, self._account.quirks, response.headers, body)

    def _stream(self, attempt: Attempt, dialect: Dialect, response: WireResponse) -> Reply:
        framing = framing_for(dialect.framings, response.headers.get("content-type", ""))
        return _StreamReply(response, EventStream(framing, dialect.stream_reader(attempt, self._account.quirks)))

    async def _refusal(self, dialect: Dialect, response: WireResponse) -> UpstreamError:
        body = b""
        try:
            async with asyncio.timeout(ERROR_BODY_S):
                while len(body) < MAX_ERROR_BODY_BYTES and (data := await response.read()):
                    body += data
        except (TimeoutError, WireError):
            pass  # the status says enough
        return dialect.decode_error(
            response.status, response.headers, body[:MAX_ERROR_BODY_BYTES], now_s=self._clock.wall_s()
        )


class Asked:
    """The exchange of an attempt, and what it leaves in the attempt's record.

    Args:
        used: what the request carries.
    """

    __slots__ = ("_attempt", "_exchange", "_progress", "used")

    def __init__(self, attempt: Attempt, wire: Wire, request: WireRequest, used: Used | None) -> None:
        self._attempt = attempt
        self._progress = WireProgress()
        self._exchange = wire.exchange(request, self._progress)
        self.used = used

    async def enter(self) -> WireResponse:
        """Sends the request and returns the answer once its head is there."""
        try:
            response = await self._exchange.__aenter__()
        except WireError as error:
            self.note()
            raise wire_error(error) from error
        except BaseException:
            self.note()
            raise
        self._attempt.record.http_status = response.status
        return response

    async def leave(self, error: BaseException | None) -> None:
        """Ends the exchange; a connection whose answer was read to its end can be used again."""
        try:
            await self._exchange.__aexit__(type(error) if error is not None else None, error, None)
        except WireError as raised:
            raise wire_error(raised) from raised
        finally:
            self.note()

    def note(self) -> None:
        """Writes down what was sent and received so far."""
        attempt, progress = self._attempt, self._progress
        attempt.request_sent = progress.request_bytes_sent > 0
        attempt.record.request_bytes = progress.request_bytes_sent
        attempt.record.response_bytes = progress.response_bytes


class _HttpReply:
    """The lifetime of an attempt at an HTTP provider."""

    __slots__ = ("_asked", "_attempt", "_drainer", "_provider", "_reply")

    def __init__(self, provider: HttpProvider, attempt: Attempt, drainer: Drainer | None) -> None:
        self._provider = provider
        self._attempt = attempt
        self._drainer = drainer
        self._asked: Asked | None = None
        self._reply: Reply | None = None

    async def __aenter__(self) -> Reply:
        self._reply, self._asked = await self._provider.ask(self._attempt)
        return self._reply

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._asked is None or self._drained(self._asked, error):
            return
        await self._asked.leave(error)

    def _drained(self, asked: Asked, error: BaseException | None) -> bool:
        """Hands a stream over that its caller left; tells whether somebody took it."""
        drainer, reply = self._drainer, self._reply
        if drainer is None or not isinstance(error, LEFT) or not isinstance(reply, _StreamReply) or reply.over:
            return False
        asked.note()
        return drainer.take(self._attempt, reply, asked.leave)


def _completion_of(call: Call) -> CompleteRequest | None:
    request = call.request.completion if isinstance(call.request, CountTokensRequest) else call.request
    return request if isinstance(request, CompleteRequest) else None


def _may_hold_media(request: CompleteRequest) -> bool:
    for message in request.messages:
        for part in message.parts:
            if isinstance(part.content, MAY_BE_MEDIA):
                return True
    return False


async def _counted_here(attempt: Attempt) -> list[Event]:
    """Returns the events of a token count that no provider was asked for."""
    request = attempt.call.request
    if not isinstance(request, CountTokensRequest):  # pragma: no cover: the catalogue refuses other operations
        raise TypeError(request)
    counted = await count_input(request.completion, attempt.target)
    return [
        Started("", attempt.target.upstream_model),
        TokensCounted(counted.input_token_count, counted.method),
        Finished(FinishReason.STOP),
    ]


async def _whole_body(response: WireResponse) -> bytes:
    pieces: list[bytes] = []
    size = 0
    while data := await response.read():
        pieces.append(data)
        size += len(data)
        if size > MAX_ANSWER_BYTES:
            raise malformed("answer over its cap")
    return b"".join(pieces)


class _OneBatch:
    """A reply that came in one piece."""

    def __init__(self, events: list[Event]) -> None:
        self._events = events

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Batch:
        if not self._events:
            raise StopAsyncIteration
        events, self._events = self._events, []
        return events


class _StreamReply:
    """A streamed answer: one batch per read, empty ones where bytes brought no event."""

    def __init__(self, response: WireResponse, decoder: EventStream) -> None:
        self._response = response
        self._decoder = decoder

    @property
    def over(self) -> bool:
        """Whether nothing more can come of it."""
        return self._decoder.finished or self._decoder.failure is not None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Batch:
        decoder = self._decoder
        if decoder.failure is not None:
            raise decoder.failure
        if decoder.finished:
            await self._drain()
            raise StopAsyncIteration
        try:
            data = await self._response.read()
        except WireError as error:
            raise wire_error(error) from error
        return decoder.feed(data) if data else decoder.end()

    async def _drain(self) -> None:
        """Waits shortly for the end of the body; data behind the last event spoils the connection (P28)."""
        try:
            async with asyncio.timeout(DRAIN_S):
                while await self._response.read():
                    pass
        except (TimeoutError, WireError):
            pass  # leaving the exchange early closes the connection
