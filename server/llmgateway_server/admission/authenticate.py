"""Who calls: static API keys, certificates, or anybody on an open loopback; and whether they may call this RPC at all.

A key that is sent decides who calls, and a wrong one is refused whatever certificate stands beside it. If the
certificate has an entry of its own, both must belong to the same tenant. Without a key the certificate decides.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping, Sequence

from pydantic import BaseModel, ConfigDict, Field

from llmgateway_server.admission.keys import KeyHasher, key_id_of
from llmgateway_server.admission.throttle import Throttle
from llmgateway_server.core.clock import Clock
from llmgateway_server.core.errors import AccessError
from llmgateway_server.core.principal import ANONYMOUS, Permission, Principal, Role
from llmgateway_server.core.reasons import Reason
from llmgateway_server.core.secret import Secret


class _Rights(BaseModel):
    """What a key or a certificate stands for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tenant: str = Field(pattern="^[a-zA-Z0-9_.-]{1,64}$")
    """Whom it belongs to."""
    roles: tuple[Role, ...] = (Role.CALLER,)
    """viewer, caller, operator, admin."""
    models: tuple[str, ...] = ("*",)
    """Patterns of model names that it may use."""
    rpcs: tuple[str, ...] = ("*",)
    """Patterns of RPCs that it may call, for example `Stream*`, within what its roles allow."""

    def principal(self, key_id: str) -> Principal:
        """Returns who calls with it."""
        return Principal(key_id, self.tenant, frozenset(self.roles), self.models, self.rpcs)


class KeySettings(_Rights):
    """One API key, as `llmgateway keys new` prints it."""

    id: str = Field(pattern="^[0-9a-zA-Z]{1,32}$")
    """The id inside the key; shows in records."""
    hash: str = Field(pattern="^[0-9a-f]{64}$")
    """What `llmgateway keys hash` prints."""
    expires_at_s: float | None = Field(default=None, allow_inf_nan=False)
    """Seconds since the epoch. None: never."""


class CertificateSettings(_Rights):
    """The callers whose certificate holds a name. Certificates are verified against `server.tls.client_ca`."""

    san: str = Field(pattern=r"^[!-~]{1,255}$")
    """A whole subject alternative name: a URI such as `spiffe://example.org/chat`, or a DNS name. No patterns."""

    @property
    def name(self) -> str:
        """The name as it is compared: DNS names in lower case; a URI has a colon and is taken as it is."""
        return self.san if ":" in self.san else self.san.lower()


class AuthSettings(BaseModel):
    """Who may call. Without keys and certificates only this machine is served, to everybody."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    keys: tuple[KeySettings, ...] = ()
    """The keys that are accepted."""
    certificates: tuple[CertificateSettings, ...] = ()
    """The callers' certificates that are accepted instead of a key; the first entry that fits counts."""
    pepper: str = ""
    """Secret reference of the server's part of the key hashes."""

    @property
    def anybody(self) -> bool:
        """Whether nobody has to say who they are."""
        return not self.keys and not self.certificates


class Authenticator:
    """Looks keys and certificates up.

    Args:
        settings: what is accepted; if nothing is, everybody is let in, which the configuration allows on this machine
            only.
        pepper: the server's part of the hashes.
        throttle: counts failures per address.
        clock: wall time of expiry.
    """

    def __init__(self, settings: AuthSettings, pepper: Secret, throttle: Throttle, clock: Clock) -> None:
        self._hasher = KeyHasher(pepper)
        self._throttle = throttle
        self._clock = clock
        self._open = settings.anybody
        self._keys = {key.id: (key, key.principal(key.id)) for key in settings.keys}
        self._certificates = {each.name: each.principal(f"cert:{each.name}") for each in settings.certificates}

    @property
    def reads_certificates(self) -> bool:
        """Whether it wants to know the names of the caller's certificate."""
        return bool(self._certificates)

    def authenticate(self, metadata: Mapping[str, str], peer: str, names: Sequence[str] = ()) -> Principal:
        """Returns who calls.

        Args:
            metadata: of the call, lower-case keys.
            peer: address of the other side.
            names: in its certificate, verified; DNS names in lower case.

        Raises:
            AccessError: INVALID_CREDENTIALS, in the same words for no, unknown and wrong keys and for certificates
                without an entry; CREDENTIALS_EXPIRED.
            ShedError: RATE_LIMITED_RPM, the address failed too often.
        """
        if self._open:
            return ANONYMOUS
        self._throttle.before_login(peer)
        principal = self._who(_presented_key(metadata), self._certified(names))
        if principal is None:
            self._throttle.login_failed(peer)
            raise AccessError(Reason.INVALID_CREDENTIALS)
        return principal

    def _who(self, key: str, certified: Principal | None) -> Principal | None:
        if not key:
            return certified
        principal = self._match(key)
        if principal is not None and certified is not None and certified.tenant != principal.tenant:
            return None
        return principal

    def _certified(self, names: Sequence[str]) -> Principal | None:
        if not names:
            return None
        return next((principal for name, principal in self._certificates.items() if name in names), None)

    def _match(self, key: str) -> Principal | None:
        # The hash is computed whether or not the id is known: both ways take the same time.
        presented = self._hasher.hash(key)
        settings, principal = self._keys.get(key_id_of(key) or "", (None, None))
        stored = settings.hash if settings is not None else "0" * 64
        if not hmac.compare_digest(presented, stored) or settings is None:
            return None
        if settings.expires_at_s is not None and self._clock.wall_s() >= settings.expires_at_s:
            raise AccessError(Reason.CREDENTIALS_EXPIRED)
        return principal


def authorize_method(principal: Principal, method: str, permission: Permission) -> None:
    """Checks that the caller may call an RPC.

    Args:
        method: `/package.Service/Method` exactly as dispatched.
        permission: what it needs.

    Raises:
        AccessError: ROLE_REQUIRED with the missing permission, `rpc:Method` where the caller's own list leaves it out.
    """
    if not principal.may(permission):
        raise AccessError(Reason.ROLE_REQUIRED, slots={"permission": permission.value})
    rpc = method.rpartition("/")[2]
    if not principal.may_call(rpc):
        raise AccessError(Reason.ROLE_REQUIRED, slots={"permission": f"rpc:{rpc}"})


def _presented_key(metadata: Mapping[str, str]) -> str:
    scheme, _, token = metadata.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip()
    return metadata.get("x-api-key", "").strip()
