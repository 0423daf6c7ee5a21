"""Somebody who is asked for tokens: an origin and a path, over the same wire as providers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import msgspec

from llmgateway_server.core.errors import UpstreamError
from llmgateway_server.core.reasons import Reason
from llmgateway_server.core.secret import Secret
from llmgateway_server.providers.credentials.source import Token
from llmgateway_server.providers.wire.port import Headers, Wire, WireError, WireProgress, WireRequest

MAX_ANSWER_BYTES = 256 * 1024
"""A token with many groups in it has some ten thousand."""
REFUSED = frozenset({400, 401, 403})
"""Statuses of whoever does not take what it was shown."""
UNSAID_LIFETIME_S = 300.0
"""Of a token that says nothing of its own (RFC 6749 section 5.1 lets it)."""


class Endpoint:
    """Where tokens come from.

    Args:
        wire: to the origin; closed with the endpoint.
        path: of the address, with its query.
    """

    def __init__(self, wire: Wire, path: str) -> None:
        self._wire = wire
        self._path = path

    async def ask(self, method: str, path: str = "", headers: Headers = (), body: bytes = b"") -> bytes:
        """Returns the body of an answer.

        Args:
            method: GET, POST, PUT.
            path: behind that of the endpoint.
            headers: all but those of the wire.
            body: of the request.

        Raises:
            UpstreamError: there is none with the status 200. Its detail has no word of the answer.
        """
        request = WireRequest(method, (self._path + path) or "/", headers, body)
        pieces: list[bytes] = []
        size = 0
        try:
            async with self._wire.exchange(request, WireProgress()) as response:
                if response.status != 200:
                    raise not_given(f"answered {response.status}", refused=response.status in REFUSED)
                while data := await response.read():
                    pieces.append(data)
                    size += len(data)
                    if size > MAX_ANSWER_BYTES:
                        raise not_given("answered at too great a length")
        except WireError as error:
            raise not_given(f"did not answer: {type(error).__name__}") from None
        except ValueError:  # what stands in a file or an answer may be no text for a header
            raise not_given("cannot be asked like that", refused=True) from None
        return b"".join(pieces)

    async def ask_form(self, form: Mapping[str, str]) -> bytes:
        """Returns the body of the answer to a form, for which JSON is asked."""
        headers = (("content-type", "application/x-www-form-urlencoded"), ("accept", "application/json"))
        return await self.ask("POST", "", headers, urlencode(form).encode())

    async def aclose(self) -> None:
        """Closes the connections."""
        await self._wire.aclose()


def not_given(what: str, *, refused: bool = False) -> UpstreamError:
    """Returns the error for a token that was not given.

    Args:
        what: the endpoint did, for the log.
        refused: whether the credentials are at fault.
    """
    reason = Reason.PROVIDER_AUTH_FAILED if refused else Reason.UPSTREAM_UNREACHABLE
    return UpstreamError(reason, detail=f"token endpoint {what}")


def document(body: bytes) -> dict[str, Any]:
    """Returns an object of JSON.

    Raises:
        UpstreamError: it is none.
    """
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError):
        raise not_given("answered something else than an object") from None


def text(answer: Mapping[str, Any], name: str) -> str:
    """Returns a text of an answer.

    Raises:
        UpstreamError: there is none.
    """
    found = answer.get(name)
    if not isinstance(found, str) or not found:
        raise not_given(f"answered without {name}")
    return found


def access_token(body: bytes) -> Token:
    """Returns the token in an answer as OAuth 2.0 has it.

    Raises:
        UpstreamError: there is none.

    Source: RFC 6749 section 5.1.
    """
    answer = document(body)
    token = text(answer, "access_token")
    try:
        lifetime_s = float(answer.get("expires_in") or UNSAID_LIFETIME_S)
    except (TypeError, ValueError):
        lifetime_s = UNSAID_LIFETIME_S
    return Token(Secret(token), lifetime_s)
