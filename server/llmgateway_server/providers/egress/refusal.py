"""Why nothing was fetched, in words of our own."""

from __future__ import annotations

from enum import StrEnum

from llmgateway_server.core.errors import RequestError
from llmgateway_server.core.reasons import Reason


class Cause(StrEnum):
    """What a caller is told; nothing finer, so that answers do not map a network."""

    DISABLED = "disabled"
    """This gateway fetches nothing."""
    URL = "url"
    """The text is no URL as we read them: its length, a control character, a backslash, user information."""
    SCHEME = "scheme"
    PORT = "port"
    HOST = "host"
    """The host is neither a public DNS name nor an address in its usual spelling."""
    ADDRESS = "address"
    """The name stands for nothing that may be connected to: no address at all, or one that is not public."""
    UNREACHABLE = "unreachable"
    """A public address did not take the connection, or broke it."""
    TLS = "tls"
    STATUS = "status"
    REDIRECT = "redirect"
    TYPE = "type"
    """The media type is not accepted, or the content is packed."""
    SIZE = "size"
    TIME = "time"


class Refusal(Exception):
    """Nothing is fetched.

    Args:
        cause: for the caller.
        detail: for the log; a place or a code of ours, never a part of the URL.
    """

    def __init__(self, cause: Cause, detail: str = "") -> None:
        super().__init__(cause.value)
        self.cause = cause
        self.detail = detail


def refused(field: str, cause: Cause, detail: str = "") -> RequestError:
    """Returns the error for a media address that is not fetched."""
    return RequestError(
        Reason.EGRESS_REFUSED,
        slots={"field": field, "cause": cause.value},
        detail=f"egress: {cause.value} {detail}".rstrip(),
    )
