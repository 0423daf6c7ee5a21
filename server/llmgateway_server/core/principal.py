"""Who calls, and what they may do."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from functools import lru_cache


class Permission(StrEnum):
    """What an RPC needs."""

    PUBLIC = "public"
    """Nothing: probes."""
    MODELS_READ = "models.read"
    STATUS_READ = "status.read"
    CALL = "call"
    OPERATE = "operate"
    """What changes the gateway for others, or makes it spend money by itself."""


class Role(StrEnum):
    """What a key is for."""

    VIEWER = "viewer"
    CALLER = "caller"
    OPERATOR = "operator"
    ADMIN = "admin"


PERMISSIONS: dict[Role, frozenset[Permission]] = {
    Role.VIEWER: frozenset({Permission.PUBLIC, Permission.MODELS_READ, Permission.STATUS_READ}),
    Role.CALLER: frozenset({Permission.PUBLIC, Permission.MODELS_READ, Permission.CALL}),
    Role.OPERATOR: frozenset(
        {
            Permission.PUBLIC,
            Permission.MODELS_READ,
            Permission.STATUS_READ,
            Permission.CALL,
            Permission.OPERATE,
        }
    ),
    Role.ADMIN: frozenset(Permission),
}
"""Rights per role; a principal has the union over its roles."""


@lru_cache
def _rights(roles: frozenset[Role]) -> frozenset[Permission]:
    return frozenset[Permission]().union(*(PERMISSIONS[role] for role in roles))


@lru_cache(4096)  # bounded: callers choose the names
def _any_matches(patterns: tuple[str, ...], name: str) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


@dataclass(slots=True, frozen=True)
class Principal:
    """Who calls: a key or a certificate, its tenant and its rights."""

    key_id: str
    """For records: public id of the key, never the key; `cert:NAME` of a certificate; `anonymous` on open loopback."""
    tenant: str
    roles: frozenset[Role]
    models: tuple[str, ...] = ("*",)
    """Patterns (`*`, `?`) of public model names that it may use."""
    rpcs: tuple[str, ...] = ("*",)
    """Patterns (`*`, `?`) of names of RPCs that it may call, beside what its roles allow."""

    def may(self, permission: Permission) -> bool:
        """Tells whether any of its roles grants `permission`."""
        return permission in _rights(self.roles)

    def may_call(self, rpc: str) -> bool:
        """Tells whether its patterns let it call the RPC of this name, for example `Complete`."""
        return _any_matches(self.rpcs, rpc)

    def may_use(self, model: str) -> bool:
        """Tells whether it may use the model of this name."""
        return _any_matches(self.models, model)


NOBODY = Principal(key_id="", tenant="", roles=frozenset())
"""Before authentication."""
ANONYMOUS = Principal(key_id="anonymous", tenant="local", roles=frozenset({Role.OPERATOR}))
"""Whoever reaches an open loopback; nobody is an administrator without saying who they are."""
