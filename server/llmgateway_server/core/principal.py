"""Who calls, and what they may do."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase


class Permission(StrEnum):
    """What an RPC needs."""

    PUBLIC = "public"
    """Nothing: probes."""
    MODELS_READ = "models.read"
    STATUS_READ = "status.read"
    CALL = "call"


class Role(StrEnum):
    """What a key is for."""

    VIEWER = "viewer"
    CALLER = "caller"
    OPERATOR = "operator"
    ADMIN = "admin"


PERMISSIONS: dict[Role, frozenset[Permission]] = {
    Role.VIEWER: frozenset({Permission.PUBLIC, Permission.MODELS_READ, Permission.STATUS_READ}),
    Role.CALLER: frozenset({Permission.PUBLIC, Permission.MODELS_READ, Permission.CALL}),
    Role.OPERATOR: frozenset({Permission.PUBLIC, Permission.MODELS_READ, Permission.STATUS_READ, Permission.CALL}),
    Role.ADMIN: frozenset(Permission),
}
"""Rights per role; a principal has the union over its roles."""


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
        return any(permission in PERMISSIONS[role] for role in self.roles)

    def may_call(self, rpc: str) -> bool:
        """Tells whether its patterns let it call the RPC of this name, for example `Complete`."""
        return any(fnmatchcase(rpc, pattern) for pattern in self.rpcs)

    def may_use(self, model: str) -> bool:
        """Tells whether it may use the model of this name."""
        return any(fnmatchcase(model, pattern) for pattern in self.models)


NOBODY = Principal(key_id="", tenant="", roles=frozenset())
"""Before authentication."""
ANONYMOUS = Principal(key_id="anonymous", tenant="local", roles=frozenset({Role.OPERATOR}))
"""Whoever reaches an open loopback; nobody is an administrator without saying who they are."""
