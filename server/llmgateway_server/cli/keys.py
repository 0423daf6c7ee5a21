"""What `llmgateway keys` prints."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from llmgateway_server.admission.keys import new_key
from llmgateway_server.core.principal import Role
from llmgateway_server.core.secret import Secret

TENANT = "[a-zA-Z0-9_.-]{1,64}"
"""As `auth.keys.tenant` wants it."""


def new_key_entry(tenant: str, roles: list[str], pepper: Secret) -> tuple[str, dict[str, Any]]:
    """Makes a key.

    Returns:
        The key, and its entry below `auth.keys` of the configuration: id, hash, tenant, roles.

    Raises:
        ValueError: there is no such role, or the tenant's name cannot stand in a configuration.
    """
    known = {role.value for role in Role}
    if unknown := [role for role in roles if role not in known]:
        raise ValueError(f"no such role: {', '.join(unknown)}; choose from {', '.join(sorted(known))}")
    if re.fullmatch(TENANT, tenant) is None:
        raise ValueError(f"a tenant's name must match {TENANT}")
    made = new_key(pepper)
    return made.key.reveal(), {"id": made.key_id, "hash": made.key_hash, "tenant": tenant, "roles": roles}


def yaml_of(entry: Mapping[str, Any]) -> str:
    """Returns the entry of a key as it stands in a configuration file."""
    return "\n".join(
        (
            "auth:",
            "  keys:",
            # Quoted: YAML would read an id such as 12345678 or a tenant such as "no" as something else than text.
            f'    - id: "{entry["id"]}"',
            f'      hash: "{entry["hash"]}"',
            f'      tenant: "{entry["tenant"]}"',
            f"      roles: [{', '.join(entry['roles'])}]",
        )
    )
