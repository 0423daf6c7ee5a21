"""Reads a URL so that nobody behind us can read it differently: one spelling passes, the others are refused.

The parsers of the standard library accept what browsers and HTTP clients disagree about, and such differences are how
a checked URL becomes another one. So the grammar here is small (RFC 3986 without what media addresses do not need), and
what it does not know is refused.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Final
from urllib.parse import quote

from llmgateway_server.providers.egress.address import IPAddress
from llmgateway_server.providers.egress.refusal import Cause, Refusal

MAX_URL_CHARS: Final = 8192
"""As `Media.uri` of the contract."""
DEFAULT_PORT: Final = 443

_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*):")
_AFTER_SCHEME: Final = re.compile(r"//(?P<authority>[^/?#]+)(?P<path>/[^?#]*)?(?P<query>\?[^#]*)?(?:#.*)?")
_BRACKETED: Final = re.compile(r"\[(?P<host>[0-9A-Fa-f:.]+)\](?::(?P<port>.*))?")
_NAMED: Final = re.compile(r"(?P<host>[^:]+)(?::(?P<port>.*))?")
_PORT: Final = re.compile(r"[1-9][0-9]{0,4}")
_LABEL: Final = re.compile(r"[a-z0-9_](?:[a-z0-9_\-]{0,61}[a-z0-9_])?")
_TOP_LABEL: Final = re.compile(r"[a-z][a-z0-9\-]*[a-z0-9]")
"""A last label that starts with a digit is an IPv4 number to some (`0x7f.1`, `2130706433`), so no name has it."""

_DEVIATING: Final = frozenset("\u00df\u1e9e\u03c2\u200c\u200d")
"""Letters that the two versions of IDNA turn into different names (RFC 5894 section 7.2): no telling who is meant."""

_NEVER_PUBLIC: Final = (
    "alt",  # RFC 9476
    "corp",  # withheld by ICANN in 2018, with `home` and `mail`: private networks use them
    "example",  # RFC 6761, as are `invalid`, `localhost` and `test`
    "home",
    "home.arpa",  # RFC 8375
    "internal",  # reserved by ICANN in 2024; `metadata.google.internal`
    "invalid",
    "localhost",
    "local",  # RFC 6762
    "mail",
    "onion",  # RFC 7686
    "test",
)


@dataclass(slots=True, frozen=True)
class Destination:
    """What a URL says, in the spelling that is sent."""

    host: str
    """DNS name in lower-case ASCII without a trailing dot, or an IP literal without brackets."""
    port: int
    target: str
    """Path and query, percent-encoded ASCII that starts with `/`; the fragment is gone."""
    address: IPAddress | None = None
    """The address where the host is a literal."""


def parse(uri: str, ports: Collection[int]) -> Destination:
    """Reads an `https` URL.

    IP literals are read and not judged. Names are normalised as IDNA does (full-width letters and dots, upper case)
    before anything is decided about them.

    Args:
        uri: at most `MAX_URL_CHARS` characters.
        ports: those that may be named.

    Raises:
        Refusal: URL, SCHEME, HOST or PORT.
    """
    if len(uri) > MAX_URL_CHARS or "\\" in uri or " " in uri or not uri.isprintable():
        raise Refusal(Cause.URL, "character or length")
    scheme = _SCHEME.match(uri)
    if scheme is None or scheme[1].lower() != "https":
        raise Refusal(Cause.SCHEME)
    rest = _AFTER_SCHEME.fullmatch(uri, scheme.end())
    if rest is None:
        raise Refusal(Cause.URL, "no authority")
    authority = rest["authority"]
    if "@" in authority:
        raise Refusal(Cause.URL, "user information")
    if "%" in authority:
        raise Refusal(Cause.HOST, "percent-encoded")
    named = (_BRACKETED if authority.startswith("[") else _NAMED).fullmatch(authority)
    if named is None:
        raise Refusal(Cause.HOST, "form")
    host, address = _literal_v6(named["host"]) if authority.startswith("[") else _name_or_v4(named["host"])
    port = _port(named["port"], ports)
    return Destination(host, port, _encoded((rest["path"] or "/") + (rest["query"] or "")), address)


def _port(text: str | None, ports: Collection[int]) -> int:
    if text is None:
        port = DEFAULT_PORT
    elif _PORT.fullmatch(text) is None:
        raise Refusal(Cause.PORT, "form")
    else:
        port = int(text)
    if port not in ports:
        raise Refusal(Cause.PORT, "not listed")
    return port


def _literal_v6(text: str) -> tuple[str, IPAddress]:
    try:
        address = IPv6Address(text)
    except AddressValueError:
        raise Refusal(Cause.HOST, "literal") from None
    return str(address), address


def _name_or_v4(text: str) -> tuple[str, IPAddress | None]:
    name = _ascii_name(text).removesuffix(".")
    labels = name.split(".")
    if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise Refusal(Cause.HOST, "label")
    if _TOP_LABEL.fullmatch(labels[-1]) is None:
        try:
            return name, IPv4Address(name)  # four decimal numbers without leading zeros, nothing else
        except AddressValueError:
            raise Refusal(Cause.HOST, "number") from None
    if len(labels) == 1:
        raise Refusal(Cause.HOST, "single label")  # the search list of the resolver would complete it
    if any(name == each or name.endswith(f".{each}") for each in _NEVER_PUBLIC):
        raise Refusal(Cause.HOST, "never public")
    return name, None


def _ascii_name(text: str) -> str:
    """Returns the name in lower-case ASCII."""
    if text.isascii():
        return text.lower()
    if len(text) > 253 or not _DEVIATING.isdisjoint(text):
        raise Refusal(Cause.HOST, "ambiguous letter")
    try:
        return text.encode("idna").decode("ascii").lower()
    except UnicodeError:
        raise Refusal(Cause.HOST, "idna") from None


def _encoded(target: str) -> str:
    """Percent-encodes what is not ASCII as RFC 3987 section 3.1 does, and nothing that is."""
    return target if target.isascii() else "".join(char if char.isascii() else quote(char) for char in target)
