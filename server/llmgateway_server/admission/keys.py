"""API keys: `lgw_<id>_<secret>_<check>`. Shown once; what is stored is an HMAC-SHA-256 of the whole key.

The secret has 256 bits, so a fast hash is enough; the prefix and the checksum let scanners find leaked keys and let
typing errors be told from wrong keys without a look-up.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import string
import zlib
from dataclasses import dataclass

from llmgateway_server.core.secret import Secret

PREFIX = "lgw"
ALPHABET = string.digits + string.ascii_letters
ID_CHARS = 8
SECRET_CHARS = 43
"""43 digits of base 62 hold 256 bits."""
MAX_KEY_CHARS = 128


@dataclass(slots=True, frozen=True)
class NewKey:
    """A fresh key: its public id, the key itself, and what to store."""

    key_id: str
    key: Secret
    key_hash: str


def new_key(pepper: Secret) -> NewKey:
    """Makes a key."""
    key_id = _random(ID_CHARS)
    body = f"{PREFIX}_{key_id}_{_random(SECRET_CHARS)}"
    key = f"{body}_{_check(body)}"
    return NewKey(key_id, Secret(key), hash_key(key, pepper))


def hash_key(key: str, pepper: Secret) -> str:
    """Returns the stored form of a key: hexadecimal HMAC-SHA-256 under the server's pepper."""
    return KeyHasher(pepper).hash(key)


class KeyHasher:
    """Makes the stored forms of many keys; the pepper is taken in once.

    Args:
        pepper: the server's part.
    """

    def __init__(self, pepper: Secret) -> None:
        self._begun = hmac.new(pepper.reveal().encode() or PREFIX.encode(), digestmod=hashlib.sha256)

    def hash(self, key: str) -> str:
        """See `hash_key`."""
        hashed = self._begun.copy()
        hashed.update(key.encode())
        return hashed.hexdigest()


def key_id_of(key: str) -> str | None:
    """Returns the id inside a key, None when it is not one of our keys (form or checksum)."""
    if len(key) > MAX_KEY_CHARS or not key.isascii():
        return None
    body, _, check = key.rpartition("_")
    pieces = body.split("_")
    if len(pieces) != 3 or pieces[0] != PREFIX or _check(body) != check:
        return None
    return pieces[1]


def _random(length: int) -> str:
    return "".join(secrets.choice(ALPHABET) for _ in range(length))


def _check(body: str) -> str:
    return f"{zlib.crc32(body.encode()):08x}"
