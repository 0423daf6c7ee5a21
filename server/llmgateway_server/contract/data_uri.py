"""Media that stand in their own address (RFC 2397): read here, so that nothing behind the contract fetches them."""

from __future__ import annotations

import base64
import binascii
import re
from urllib.parse import unquote_to_bytes

DATA_URI = re.compile(
    r"data:(?P<mime>[\w!#$&^.+-]+/[\w!#$&^.+-]+)?(?:;[\w-]+=[^;,]*)*(?P<base64>;base64)?,(?P<data>.*)", re.IGNORECASE
)


def is_data_uri(uri: str) -> bool:
    """Tells whether an address holds its content itself."""
    return uri[:5].lower() == "data:"


def read_data_uri(uri: str) -> tuple[str, bytes] | None:
    """Returns MIME type and content; None where the address is not well formed or empty."""
    found = DATA_URI.fullmatch(uri)
    if found is None:
        return None
    data = unquote_to_bytes(found["data"])
    if found["base64"]:
        try:
            data = base64.b64decode(data, validate=True)
        except binascii.Error:
            return None
    return (found["mime"] or "text/plain").lower(), data
