"""One guarded GET: what may be asked for is decided before anything is asked.

The order is the protection: the URL is read strictly, its name is resolved once, every address is judged, and the
connection is made to judged addresses only, while certificate, SNI and `host` stay those of the name. A second answer
of DNS is never asked for, so it cannot differ. Until all of that has passed no socket is opened.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Final

from llmgateway_server.providers.egress.address import IPAddress, Judge, refused_because
from llmgateway_server.providers.egress.refusal import Cause, Refusal, refused
from llmgateway_server.providers.egress.resolver import Resolver, SystemResolver
from llmgateway_server.providers.egress.settings import EgressSettings
from llmgateway_server.providers.egress.url import Destination, parse
from llmgateway_server.providers.wire.connect import client_context
from llmgateway_server.providers.wire.http1 import Http1Exchange, Http1Wire
from llmgateway_server.providers.wire.port import (
    Origin,
    WireError,
    WireLimits,
    WireProgress,
    WireRequest,
    WireTlsError,
    WireTooLarge,
)

ACCEPTED: Final = ("image/*", "audio/*", "application/pdf", "text/plain")
"""Media types that are fetched; `*` stands for any subtype."""

_MAX_ADDRESSES: Final = 8
"""Addresses of one name that are tried; all are judged."""
_RESOLVE_S: Final = 5.0
"""Longest wait for DNS; its end is no other answer than that there is no such name."""
_MAX_HEAD_BYTES: Final = 16 * 1024
_MEDIA_TYPE: Final = re.compile(r"([a-z0-9!#$&^_.+\-]{1,127})/[a-z0-9!#$&^_.+\-]{1,127}")
"""RFC 6838 section 4.2, in lower case."""


@dataclass(slots=True, frozen=True)
class Fetched:
    """What was found."""

    data: bytes
    mime_type: str
    """As the server says, in lower case, without parameters."""


class Allowance:
    """Bytes that several fetches may bring together.

    Args:
        max_bytes: all of them.
    """

    def __init__(self, max_bytes: int) -> None:
        self.left_bytes = max_bytes

    def take(self, nbytes: int) -> None:
        """Uses a part of it.

        Raises:
            Refusal: SIZE, more than was left; nothing is left from then on.
        """
        self.left_bytes -= nbytes
        if self.left_bytes < 0:
            self.left_bytes = 0
            raise Refusal(Cause.SIZE, "all fetches")


class Egress:
    """Fetches addresses that callers name.

    Args:
        settings: what may be fetched.
        resolver: names to addresses; None: the system's. Closed with this object.
        judge: which addresses may be connected to; None: public ones outside `settings.denied_networks`. Everything
            rests on it, so only tests bring their own.
        ssl_context: TLS settings that verify certificate and name; None: the authorities of the system.

    Raises:
        ValueError: `ssl_context` does not verify, or allows versions below TLS 1.2.
    """

    def __init__(
        self,
        settings: EgressSettings,
        *,
        resolver: Resolver | None = None,
        judge: Judge | None = None,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self._settings = settings
        self._ports = frozenset(settings.ports)
        self._resolver = resolver or SystemResolver(settings.max_concurrent)
        self._judge = judge or partial(refused_because, denied=settings.denied_networks)
        self._given_context = client_context(ssl_context) if ssl_context is not None else None
        self._places = asyncio.Semaphore(settings.max_concurrent)

    @cached_property
    def _context(self) -> ssl.SSLContext:
        """Made with the first fetch: reading the system's authorities takes as long as a tenth of a start."""
        return self._given_context or client_context(None)

    async def fetch(
        self,
        uri: str,
        *,
        field: str,
        deadline_s: float,
        accept: tuple[str, ...] = ACCEPTED,
        allowance: Allowance | None = None,
        copies: int = 1,
    ) -> Fetched:
        """Gets one content.

        Args:
            uri: what the caller wrote.
            field: path of the request's field that holds it, for example `messages[0].parts[1].media.uri`.
            deadline_s: seconds that the call has left; `EgressSettings.timeout_s` bounds it.
            accept: media types, in lower case; `type/*` for all of a type.
            allowance: shared with the other fetches of the call; used up while the bytes arrive.
            copies: how often the content is taken from the allowance.

        Returns:
            A content of at least one byte.

        Raises:
            RequestError: EGRESS_REFUSED with the slots `field` and `cause`, a word of `Cause`. Neither it nor its
                detail has any part of the URL.
        """
        try:
            if not self._settings.enabled:
                raise Refusal(Cause.DISABLED)
            destination = self._destination(uri)
            async with asyncio.timeout(min(self._settings.timeout_s, deadline_s)), self._places:
                origin = Origin("https", destination.host, destination.port, await self._addresses(destination))
                return await self._get(origin, destination.target, accept, _Intake(allowance, copies))
        except Refusal as refusal:
            raise refused(field, refusal.cause, refusal.detail) from None
        except TimeoutError:
            raise refused(field, Cause.TIME) from None

    async def aclose(self) -> None:
        """Closes the resolver; what still runs ends by itself or by the cancel of its call."""
        await self._resolver.aclose()

    def _destination(self, uri: str) -> Destination:
        """Reads the URL, and judges it as far as this needs no network."""
        destination = parse(uri, self._ports)
        if destination.address is not None:
            self._check((destination.address,))
        return destination

    async def _addresses(self, destination: Destination) -> tuple[str, ...]:
        """Returns the judged addresses.

        A name that does not exist is refused with the same word as one that leads inside, so that nobody learns from
        the answer which names there are.
        """
        if destination.address is not None:
            return (str(destination.address),)
        try:
            async with asyncio.timeout(_RESOLVE_S):
                found = await self._resolver.resolve(destination.host, destination.port)
        except (OSError, UnicodeError, ValueError):
            raise Refusal(Cause.ADDRESS, "not resolved") from None
        if not found:
            raise Refusal(Cause.ADDRESS, "not resolved")
        self._check(found)
        return tuple(str(address) for address in found[:_MAX_ADDRESSES])

    def _check(self, addresses: tuple[IPAddress, ...]) -> None:
        for address in addresses:
            why = self._judge(address)
            if why is not None:
                raise Refusal(Cause.ADDRESS, why)

    async def _get(self, origin: Origin, target: str, accept: tuple[str, ...], intake: _Intake) -> Fetched:
        limits = WireLimits(
            connect_timeout_s=self._settings.timeout_s,
            max_connections=1,
            max_header_bytes=_MAX_HEAD_BYTES,
            max_body_bytes=intake.cap(self._settings.max_bytes),
        )
        wire = Http1Wire(origin, limits=limits, ssl_context=self._context)
        request = WireRequest("GET", target, (("accept", ", ".join(accept)), ("user-agent", "llmgateway")))
        try:
            async with wire.exchange(request, WireProgress()) as response:
                mime_type = _accepted(response, accept)
                while data := await response.read():
                    intake.add(data)
        except WireTooLarge:
            raise Refusal(Cause.SIZE) from None
        except WireTlsError:
            raise Refusal(Cause.TLS) from None
        except WireError as error:
            raise Refusal(Cause.UNREACHABLE, type(error).__name__) from None
        finally:
            await wire.aclose()
        return Fetched(intake.whole(), mime_type)


class _Intake:
    """The bytes of one content as they arrive, counted against what all may bring together."""

    def __init__(self, allowance: Allowance | None, copies: int) -> None:
        self._allowance = allowance
        self._copies = copies
        self._pieces: list[bytes] = []

    def cap(self, max_bytes: int) -> int:
        """Returns the largest size that makes sense now, so that a larger announced one is refused at once."""
        return max_bytes if self._allowance is None else min(max_bytes, self._allowance.left_bytes // self._copies)

    def add(self, data: bytes) -> None:
        if self._allowance is not None:
            self._allowance.take(len(data) * self._copies)
        self._pieces.append(data)

    def whole(self) -> bytes:
        if not self._pieces:
            raise Refusal(Cause.SIZE, "empty")
        return b"".join(self._pieces)


def _accepted(response: Http1Exchange, accept: tuple[str, ...]) -> str:
    """Returns the media type of a response whose body may be read."""
    if 300 <= response.status <= 399:
        raise Refusal(Cause.REDIRECT)
    if response.status != 200:
        raise Refusal(Cause.STATUS, str(response.status))
    if response.headers.get("content-encoding", "").lower() not in ("", "identity"):
        raise Refusal(Cause.TYPE, "content coding")
    mime_type = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    parsed = _MEDIA_TYPE.fullmatch(mime_type)
    if parsed is None or not (mime_type in accept or f"{parsed[1]}/*" in accept):
        raise Refusal(Cause.TYPE)
    return mime_type
