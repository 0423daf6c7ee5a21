"""Who calls: static API keys, or anybody on an open loopback; and whether they may call this RPC at all."""

from __future__ import annotations

import hmac
from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, Field

from llmgateway_server.admission.keys import hash_key, key_id_of
from llmgateway_server.admission.throttle import Throttle
from llmgateway_server.core.clock import Clock
from llmgateway_server.core.errors import AccessError
from llmgateway_server.core.principal import ANONYMOUS, Permission, Principal, Role
from llmgateway_server.core.reasons import Reason
from llmgateway_server.core.secret import Secret


class KeySettings(BaseModel):
    """One API key, as `llmgateway keys new` prints it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(pattern="^[0-9a-zA-Z]{1,32}$")
    """The id inside the key; shows in records."""
    hash: str = Field(pattern="^[0-9a-f]{64}$")
    """What `llmgateway keys hash` prints."""
    tenant: str = Field(pattern="^[a-zA-Z0-9_.-]{1,64}$")
    """Whom the key belongs to."""
    roles: tuple[Role, ...] = (Role.CALLER,)
    """viewer, caller, operator, admin."""
    models: tuple[str, ...] = ("*",)
    """Patterns of model names that it may use."""
    expires_at_s: float | None = Field(default=None, allow_inf_nan=False)
    """Seconds since the epoch. None: never."""


class AuthSettings(BaseModel):
    """Who may call. Without keys only loopback is served, to everybody."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    keys: tuple[KeySettings, ...] = ()
    """The keys that are accepted."""
    pepper: str = ""
    """Secret reference of the server's part of the key hashes."""


class Authenticator:
    """Looks keys up.

    Args:
        keys: the accepted keys; without any, everybody is let in, which the configuration allows on loopback only.
        pepper: the server's part of the hashes.
        throttle: counts failures per address.
        clock: wall time of expiry.
    """

    def __init__(self, keys: tuple[KeySettings, ...], pepper: Secret, throttle: Throttle, clock: Clock) -> None:
        self._pepper = pepper
        self._throttle = throttle
        self._clock = clock
        self._open = not keys
        self._keys = {key.id: (key, Principal(key.id, key.tenant, frozenset(key.roles), key.models)) for key in keys}

    def authenticate(self, metadata: Mapping[str, str], peer: str) -> Principal:
        """Returns who calls.

        Args:
            metadata: of the call, lower-case keys.
            peer: address of the other side.

        Raises:
            AccessError: INVALID_CREDENTIALS, in the same words for no, unknown and wrong keys; CREDENTIALS_EXPIRED.
            ShedError: RATE_LIMITED_RPM, the address failed too often.
        """
        if self._open:
            return ANONYMOUS
        self._throttle.before_login(peer)
        key = _presented_key(metadata)
        principal = self._match(key) if key else None
        if principal is None:
            self._throttle.login_failed(peer)
            raise AccessError(Reason.INVALID_CREDENTIALS)
        return principal

    def _match(self, key: str) -> Principal | None:
        # The hash is computed whether or not the id is known: both ways take the same time.
        presented = hash_key(key, self._pepper)
        settings, principal = self._keys.get(key_id_of(key) or "", (None, None))
        stored = settings.hash if settings is not None else "0" * 64
        if not hmac.compare_digest(presented, stored) or settings is None:
            return None
        if settings.expires_at_s is not None and self._clock.wall_s() >= settings.expires_at_s:
            raise AccessError(Reason.CREDENTIALS_EXPIRED)
        return principal


def authorize_method(principal: Principal, permission: Permission) -> None:
    """Checks that the caller may call an RPC that needs `permission`.

    Raises:
        AccessError: ROLE_REQUIRED.
    """
    if not principal.may(permission):
        raise AccessError(Reason.ROLE_REQUIRED, slots={"permission": permission.value})


def _presented_key(metadata: Mapping[str, str]) -> str:
    scheme, _, token = metadata.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip()
    return metadata.get("x-api-key", "").strip()
